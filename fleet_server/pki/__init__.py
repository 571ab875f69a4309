"""A small certificate authority: who may speak to the broker, and under which name."""

from fleet_server.pki.authority import Issued, Kind, create_ca, issue, renew_crl, revoke
from fleet_server.pki.files import write_private

__all__ = ["Issued", "Kind", "create_ca", "issue", "renew_crl", "revoke", "write_private"]

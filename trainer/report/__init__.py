"""The report of a bundle for people: one HTML page that needs nothing beside it, and a model card."""

from trainer.report.data import ReportData, dataset_counts
from trainer.report.gallery import Picture, gallery
from trainer.report.page import html_report, model_card

__all__ = ["Picture", "ReportData", "dataset_counts", "gallery", "html_report", "model_card"]

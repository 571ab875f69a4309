"""What the line is told and for how long, with a clock that is turned by hand."""

from edge_agent.output.signals import ACCEPT, NO_DECISION, REJECT, Display, Rules, Signals, Told


def told(part: int, verdict: str = ACCEPT, due_s: float = 100.0) -> Told:
    return Told(part, verdict, "", due_s)


def rules() -> Rules:
    made = Rules(silence_s=2.0)
    made.beat(True, 0.0)
    return made


def test_a_verdict_in_time_is_told_as_it_is() -> None:
    line = rules()
    line.expect(7, 1.0)
    assert line.verdict(7, REJECT, "", 0.9) == Told(7, REJECT, "", 1.0)
    assert line.overdue(5.0) == []


def test_a_part_without_a_verdict_in_time_is_told_once() -> None:
    line = rules()
    line.expect(7, 1.0)
    assert line.overdue(0.9) == []
    assert line.overdue(1.0) == [Told(7, NO_DECISION, "deadline", 1.0)]
    assert line.overdue(2.0) == []
    assert line.verdict(7, ACCEPT, "", 1.1) is None
    assert line.overruled == 1


def test_no_decision_after_no_decision_overrules_nothing() -> None:
    line = rules()
    line.expect(7, 1.0)
    line.overdue(1.0)
    assert line.verdict(7, NO_DECISION, "deadline", 1.1) is None
    assert line.overruled == 0


def test_a_verdict_that_came_late_in_the_pipe_is_no_decision() -> None:
    line = rules()
    line.expect(7, 1.0)
    assert line.verdict(7, ACCEPT, "", 1.5) == Told(7, NO_DECISION, "deadline", 1.0)
    assert line.overruled == 1


def test_every_part_under_way_is_told_when_the_agent_is_gone() -> None:
    line = rules()
    line.expect(7, 50.0)
    line.expect(8, 60.0)
    gone = [(one.part, one.verdict, one.reason) for one in line.gone()]
    assert gone == [(7, NO_DECISION, "agent_gone"), (8, NO_DECISION, "agent_gone")]
    assert not line.ready(0.0)


def test_silence_ends_ready_and_a_beat_brings_it_back() -> None:
    line = rules()
    assert line.ready(1.9)
    assert line.next_s(1.5) == 2.0
    assert not line.ready(2.0)
    line.beat(True, 5.0)
    assert line.ready(5.1)
    line.beat(False, 5.2)
    assert not line.ready(5.2)


def shown(display: Display, now_s: float) -> Signals:
    """What stands after everything that is due by `now_s`."""
    last = Signals()
    while (signals := display.next(now_s)) is not None:
        last = signals
    return last


def display(*, hold_s: float = 0.5, gap_s: float = 0.0, heartbeat_s: float = 0.0) -> Display:
    made = Display(hold_s=hold_s, gap_s=gap_s, heartbeat_s=heartbeat_s)
    made.set_ready(True)
    made.next(0.0)
    return made


def test_a_verdict_stands_for_its_time_and_then_none() -> None:
    line = display()
    line.tell(told(7))
    assert shown(line, 1.0) == Signals(True, ACCEPT, "", 7, 1, 0)
    assert line.wake_s(1.0) == 1.5
    assert line.next(1.4) is None
    assert shown(line, 1.5) == Signals(True, NO_DECISION, "", 7, 1, 0)
    assert line.idle


def test_the_next_verdict_takes_the_place_of_the_last_where_there_is_no_gap() -> None:
    line = display()
    line.tell(told(7))
    line.tell(told(8, REJECT))
    assert line.next(1.0) == Signals(True, ACCEPT, "", 7, 1, 0)
    assert line.next(1.0) == Signals(True, REJECT, "", 8, 2, 0)


def test_pulses_keep_their_width_and_their_rest() -> None:
    line = display(hold_s=0.05, gap_s=0.01)
    for part in (7, 8):
        line.tell(told(part))
    levels = []
    for tick in range(1000, 1130):
        signals = line.next(tick / 1000)
        if signals is not None:
            levels.append((tick, signals.verdict, signals.part))
    assert levels == [
        (1000, ACCEPT, 7), (1050, NO_DECISION, 7), (1060, ACCEPT, 8), (1110, NO_DECISION, 8),
    ]  # fmt: skip


def test_a_verdict_that_waited_past_its_time_is_none() -> None:
    line = display()
    line.tell(told(7, due_s=1.0))
    assert shown(line, 1.1) == Signals(True, NO_DECISION, "output_late", 7, 1, 0)


def test_what_could_not_be_shown_is_shown_again_only_in_its_time() -> None:
    line = display()
    line.tell(told(7, due_s=1.2))
    line.next(1.0)
    assert line.again(1.1).verdict == ACCEPT
    assert line.again(1.3) == Signals(True, NO_DECISION, "output_late", 7, 1, 0)


def test_what_was_held_before_a_loss_does_not_stand_after_it() -> None:
    line = display()
    line.tell(told(7))
    line.next(1.0)
    line.delivered()
    assert line.again(1.1).verdict == NO_DECISION


def test_nothing_stands_or_follows_once_the_agent_is_not_ready() -> None:
    line = display()
    line.tell(told(7))
    shown(line, 1.0)
    line.tell(told(8))
    line.set_ready(False)
    assert shown(line, 1.1) == Signals(False, NO_DECISION, "agent_gone", 8, 2, 0)


def test_count_and_heartbeat_go_on_from_what_the_plc_holds_and_wrap() -> None:
    line = Display(hold_s=1, gap_s=0, heartbeat_s=0.5)
    line.resume(65535, 65535)
    line.tell(told(7))
    assert shown(line, 1.0).count == 0
    assert shown(line, 1.5).heartbeat == 1


def test_a_backlog_is_bounded_and_loses_its_oldest() -> None:
    line = display(hold_s=1, gap_s=1)
    for part in range(70):
        line.tell(told(part))
    assert line.dropped == 6
    assert shown(line, 1.0).part == 6

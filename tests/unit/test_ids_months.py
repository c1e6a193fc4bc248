"""Which months' partitions may hold what belongs to a job."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agora.ids import CLOCKS, floor_id, made_at, month_id


@pytest.mark.parametrize(
    ("moment", "first"),
    [
        (datetime(2031, 3, 15, 12, tzinfo=UTC), datetime(2031, 3, 1, tzinfo=UTC)),
        (datetime(2031, 3, 1, tzinfo=UTC) + CLOCKS, datetime(2031, 3, 1, tzinfo=UTC)),
        (datetime(2031, 3, 1, tzinfo=UTC), datetime(2031, 2, 1, tzinfo=UTC)),
        (datetime(2031, 1, 1, 0, 1, tzinfo=UTC), datetime(2030, 12, 1, tzinfo=UTC)),
        (datetime(2031, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2031, 2, 1, tzinfo=UTC)),
    ],
)
def test_rows_of_a_host_whose_clock_is_behind_lie_at_or_above_the_bound_of_their_month(moment, first):
    assert month_id("evt", moment) == floor_id("evt", first)
    assert floor_id("evt", moment - CLOCKS) >= month_id("evt", moment)


def test_an_id_tells_when_it_was_made():
    moment = datetime(2031, 3, 15, 12, 13, 14, 567_000, tzinfo=UTC)
    assert made_at(floor_id("job", moment)) == moment


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, tzinfo=UTC)])
def test_no_id_is_older_than_1970(moment):
    assert floor_id("job", moment) == floor_id("job", datetime(1970, 1, 1, tzinfo=UTC))

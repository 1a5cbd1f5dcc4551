from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from jobstatus import v1 as pb
from jobstatus_grpc.convert import reports, requests
from jobstatus_grpc.errors import INVALID, MISSING, InvalidRequest
from jobstatus_grpc.model import (
    Delivery,
    Details,
    GranuleReport,
    GranuleState,
    ItemError,
    JobKey,
    JobReport,
    JobState,
    Report,
)

NUL_WORDS = "contains a NUL character, which not every database can keep"


def faults(read: Callable[[Any], object], request: object) -> dict[str, tuple[str, str]]:
    """Return the faults by field: what is wrong, and MISSING or INVALID."""
    with pytest.raises(InvalidRequest) as caught:
        read(request)
    found = caught.value.violations
    assert len({violation.field for violation in found}) == len(found)
    return {violation.field: (violation.description, violation.reason) for violation in found}


def granule_faults(**fields: Any) -> dict[str, str]:
    request = pb.ReportGranulesRequest(
        job_id="j", granules=[pb.Granule(granule_id="first"), pb.Granule(**({"granule_id": "g"} | fields))]
    )
    found = faults(reports.report_granules, request)
    assert all(field.startswith("granules[1].") for field in found)
    return {field.removeprefix("granules[1]."): words for field, (words, _) in found.items()}


def job_faults(**fields: Any) -> dict[str, str]:
    request = pb.ReportJobRequest(job=pb.Job(**({"job_id": "j"} | fields)))
    found = faults(reports.report_job, request)
    assert all(field.startswith("job.") for field in found)
    return {field.removeprefix("job."): words for field, (words, _) in found.items()}


def granule_of(**fields: Any) -> GranuleReport:
    request = pb.ReportGranulesRequest(job_id="j", granules=[pb.Granule(**({"granule_id": "g"} | fields))])
    return reports.report_granules(request).granules[0]


def test_a_whole_report_of_a_job_is_read() -> None:
    begin, end = Timestamp(seconds=1, nanos=2_999), Timestamp(seconds=3, nanos=4_000)
    request = pb.ReportJobRequest(
        job=pb.Job(
            project_id="p",
            job_id="j",
            system="orca",
            job_type="restore",
            state=pb.JOB_STATE_FAILED,
            native_state="error",
            attempt=2,
            description="d",
            message="m",
            error=pb.ItemError(code="c", reason="r"),
            begin_time=begin,
            end_time=end,
            granules_complete=False,
            labels={"k": "v", "empty": ""},
            orca=pb.OrcaDetails(totals=pb.OrcaTotals(pending_count=2**63 - 1)),
        ),
        granules=[pb.Granule(collection_id="c", granule_id="g")],
        authoritative=True,
    )
    job = JobReport(
        "p",
        "j",
        "orca",
        "restore",
        JobState.FAILED,
        "error",
        2,
        "d",
        "m",
        ItemError("c", "r"),
        1_000_002,
        3_000_004,
        False,
        {"k": "v", "empty": ""},
        details=Details("orca", {"totals": {"pending_count": 2**63 - 1}}),
    )
    assert reports.report_job(request) == Report(JobKey("p", "j"), job, [GranuleReport("c", "g")], True)


@pytest.mark.parametrize("system", ["orca", "sdrs", "sfs_turbo"])
def test_details_are_not_those_of_another_system(system: str) -> None:
    found = job_faults(system=system, glacier=pb.GlacierDetails(other_fields={"k": "no JSON"}))
    assert found["glacier"] == f"are not details of the job's system, which is '{system}'"
    assert set(found) == {"glacier", "glacier.other_fields.k"}
    for other in ("glacier", "", "GLACIER", "ours"):
        reports.report_job(pb.ReportJobRequest(job=pb.Job(job_id="j", system=other, glacier={})))


def test_a_whole_report_of_granules_is_read() -> None:
    granule = pb.Granule(
        collection_id="c",
        granule_id="g",
        state=pb.GRANULE_STATE_STAGED,
        native_state="staged",
        attempt=3,
        error=pb.ItemError(code="", reason="r"),
        message="",
        request_time=Timestamp(seconds=-1, nanos=999_999_999),
        end_time=Timestamp(),
    )
    request = pb.ReportGranulesRequest(project_id="p", job_id="j", granules=[granule], authoritative=True)
    expected = GranuleReport("c", "g", GranuleState.STAGED, "staged", 3, ItemError("", "r"), "", -1, 0)
    assert reports.report_granules(request) == Report(JobKey("p", "j"), None, [expected], True)


def test_what_is_absent_is_no_news() -> None:
    request = pb.ReportJobRequest(job=pb.Job(job_id="j"))
    assert reports.report_job(request) == Report(JobKey("default", "j"), JobReport("default", "j"), [])
    assert granule_of() == GranuleReport("", "g")


def test_what_is_present_but_empty_is_news() -> None:
    assert granule_of(message="", error=pb.ItemError(), state=1, native_state="")[2:7] == (
        GranuleState.PENDING,
        "",
        None,
        ItemError(None, None),
        "",
    )


def test_output_only_fields_are_not_looked_at() -> None:
    never = Timestamp(seconds=2**60)
    granule = pb.Granule(granule_id="g", update_time=never, revision=-5)
    job = pb.Job(job_id="j", create_time=never, update_time=never, revision=-5)
    job.totals.pending_count = -1
    report = reports.report_job(pb.ReportJobRequest(job=job, granules=[granule]))
    assert (report.job, report.granules) == (JobReport("default", "j"), [GranuleReport("", "g")])


@pytest.mark.parametrize(
    ("fields", "state", "native_state"),
    [
        ({}, None, None),
        ({"state": 0}, None, None),
        ({"state": 0, "native_state": "odd"}, 0, "odd"),
        ({"native_state": "odd"}, None, "odd"),
        ({"state": 4}, 4, None),
        ({"state": 4, "native_state": ""}, 4, ""),
    ],
)
def test_a_state_is_reported_if_there_is_a_word_for_it(
    fields: dict[str, Any], state: int | None, native_state: str | None
) -> None:
    assert granule_of(**fields)[2:4] == (state, native_state)
    report = reports.report_job(pb.ReportJobRequest(job=pb.Job(job_id="j", **fields)))
    assert report.job is not None
    assert (report.job.state, report.job.native_state) == (state, native_state)


def test_states_are_of_the_models_own_types() -> None:
    assert type(granule_of(state=3).state) is GranuleState
    job = reports.report_job(pb.ReportJobRequest(job=pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED))).job
    assert job is not None
    assert type(job.state) is JobState


@pytest.mark.parametrize("native_state", [{"native_state": ""}, {"native_state": "", "state": 0}])
def test_an_empty_word_for_no_state_is_a_fault(native_state: dict[str, Any]) -> None:
    words = {"native_state": "is empty and there is no state beside it"}
    assert granule_faults(**native_state) == job_faults(**native_state) == words


@pytest.mark.parametrize("number", [5, -1, 2**31 - 1])
def test_an_unknown_state_is_a_fault(number: int) -> None:
    assert granule_faults(state=number) == {"state": f"{number} is not a state"}
    assert job_faults(state=number, native_state="") == {"state": f"{number} is not a state"}


@pytest.mark.parametrize("attempt", [0, -1, -(2**31)])
def test_an_attempt_below_one_is_a_fault(attempt: int) -> None:
    assert granule_faults(attempt=attempt) == {"attempt": f"{attempt} is less than 1"}
    assert job_faults(attempt=attempt) == {"attempt": f"{attempt} is less than 1"}


@pytest.mark.parametrize("good", ["a", " ", "é" * 256, "x" * 512, "\u00a0", "\u2028", "😀", "a/b'\"\\%"])
def test_ids_are_opaque(good: str) -> None:
    request = pb.ReportGranulesRequest(
        project_id=good, job_id=good, granules=[pb.Granule(collection_id=good, granule_id=good)]
    )
    report = reports.report_granules(request)
    assert (report.key, report.granules[0].key) == ((good, good), (good, good))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("x" * 513, "takes 513 bytes, more than 512"),
        ("é" * 257, "takes 514 bytes, more than 512"),
        ("a\0", "contains a control character"),
        ("a\n", "contains a control character"),
        ("a\x7f", "contains a control character"),
        ("é\x85", "contains a control character"),
        ("\x9f", "contains a control character"),
    ],
)
def test_an_id_too_long_or_with_control_characters_is_a_fault(bad: str, words: str) -> None:
    assert granule_faults(collection_id=bad, granule_id=bad) == {"collection_id": words, "granule_id": words}
    assert job_faults(project_id=bad, job_id=bad) == {"project_id": words, "job_id": words}
    request = pb.GetJobStatusRequest(project_id=bad, job_id=bad)
    expected = {"project_id": (words, INVALID), "job_id": (words, INVALID)}
    assert faults(requests.job_key, request) == faults(requests.get_job_status, request) == expected


@given(st.text())
def test_an_id_is_refused_for_its_length_or_its_control_characters_only(text: str) -> None:
    control = any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)
    good = 1 <= len(text.encode()) <= 512 and not control
    request = pb.DeleteJobRequest(job_id=text)
    if good:
        assert requests.job_key(request).job_id == text
    else:
        (fault,) = faults(requests.job_key, request).items()
        assert (fault[0], fault[1][1]) == ("job_id", INVALID if text else MISSING)


@pytest.mark.parametrize(
    "time",
    [
        Timestamp(seconds=-62_135_596_801),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
        Timestamp(seconds=2**63 - 1),
    ],
)
def test_an_impossible_time_is_a_fault(time: Timestamp) -> None:
    words = "is not a valid time from year 1 to 9999"
    assert granule_faults(request_time=time, end_time=time) == {"request_time": words, "end_time": words}
    assert job_faults(begin_time=time, end_time=time) == {"begin_time": words, "end_time": words}


def test_the_first_and_the_last_time_are_read() -> None:
    first, last = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799, nanos=999_999_999)
    granule = granule_of(request_time=first, end_time=last)
    assert (granule.request_time, granule.end_time) == (-62_135_596_800_000_000, 253_402_300_799_999_999)


def test_a_nul_in_a_text_is_a_fault() -> None:
    error = pb.ItemError(code="\0", reason="a\0")
    assert granule_faults(native_state="\0", message="\0", error=error) == dict.fromkeys(
        ["native_state", "message", "error.code", "error.reason"], NUL_WORDS
    )
    names = ["system", "job_type", "native_state", "description", "message"]
    assert job_faults(**dict.fromkeys(names, "a\0b"), labels={"k": "\0"}) == dict.fromkeys(
        [*names, 'labels["k"]'], NUL_WORDS
    )
    assert granule_of(message="tab\tline\nbell\a").message == "tab\tline\nbell\a"


def test_bad_keys_of_labels_are_faults_in_words_that_are_safe_to_show() -> None:
    assert job_faults(labels={"": "v", "a\nb": "v", "x" * 513: "v", "good": "v"}) == {
        'labels[""]': "the key is empty",
        'labels["a\\nb"]': "the key contains a control character",
        f'labels["{"x" * 64}"]': "the key takes 513 bytes, more than 512",
    }


def test_missing_parts_are_missing_and_not_invalid() -> None:
    required = ("is required", MISSING)
    assert faults(reports.report_job, pb.ReportJobRequest()) == {"job": required}
    assert faults(reports.report_job, pb.ReportJobRequest(job=pb.Job())) == {"job.job_id": required}
    assert faults(reports.report_granules, pb.ReportGranulesRequest()) == {
        "job_id": required,
        "granules": required,
    }
    with pytest.raises(InvalidRequest) as caught:
        reports.report_job(pb.ReportJobRequest())
    assert caught.value.reason == MISSING
    for request in (pb.GetJobStatusRequest(), pb.WatchJobRequest(), pb.DeleteJobRequest()):
        assert faults(requests.job_key, request) == {"job_id": required}


def test_every_fault_is_named_at_once_and_in_its_place() -> None:
    granules = [pb.Granule(granule_id="g") for _ in range(1_000)]
    granules[3] = pb.Granule(state=9, native_state="\0")  # type: ignore[arg-type]
    granules[999] = pb.Granule(granule_id="g", attempt=0)
    words = {
        "granules[3].granule_id": ("is required", MISSING),
        "granules[3].native_state": (NUL_WORDS, INVALID),
        "granules[3].state": ("9 is not a state", INVALID),
        "granules[999].attempt": ("0 is less than 1", INVALID),
    }
    found = faults(reports.report_job, pb.ReportJobRequest(job=pb.Job(attempt=0), granules=granules))
    assert found == {
        "job.job_id": ("is required", MISSING),
        "job.attempt": ("0 is less than 1", INVALID),
        **words,
    }
    assert faults(reports.report_job, pb.ReportJobRequest(granules=granules)) == {
        "job": ("is required", MISSING),
        **words,
    }
    assert faults(reports.report_granules, pb.ReportGranulesRequest(granules=granules)) == {
        "job_id": ("is required", MISSING),
        **words,
    }


def test_a_report_holds_ten_thousand_granules_and_no_more() -> None:
    granules = [pb.Granule(granule_id=str(number)) for number in range(10_000)]
    request = pb.ReportGranulesRequest(job_id="j", granules=granules)
    assert [granule.granule_id for granule in reports.report_granules(request).granules] == [
        str(number) for number in range(10_000)
    ]
    request.granules.add()
    assert faults(reports.report_granules, request) == {"granules": ("are 10001, more than 10000", INVALID)}


def test_a_report_takes_four_mebibytes_and_no_more() -> None:
    request = pb.ReportGranulesRequest(job_id="j", granules=[pb.Granule(granule_id="g", message="")])
    request.granules[0].message = "x" * (4 * 1024 * 1024 - request.ByteSize() - 6)
    assert request.ByteSize() == 4 * 1024 * 1024
    reports.report_granules(request)
    request.granules[0].message += "x"
    assert faults(reports.report_granules, request) == {
        "request": ("takes 4194305 bytes, more than 4194304", INVALID)
    }


def test_a_report_with_nothing_but_faults_is_refused_in_bounded_memory() -> None:
    labels = {f"\n{number}": "" for number in range(200_000)}
    with pytest.raises(InvalidRequest) as caught:
        reports.report_job(pb.ReportJobRequest(job=pb.Job(job_id="j", labels=labels)))
    assert len(caught.value.violations) == 100_000
    assert all(violation.field.startswith("job.labels[") for violation in caught.value.violations)


def test_a_question_for_a_job_has_defaults() -> None:
    assert requests.get_job_status(pb.GetJobStatusRequest(job_id="j")) == requests.GetJobStatus(
        JobKey("default", "j"), 1_000, b"", [], False
    )
    assert requests.list_jobs(pb.ListJobsRequest()) == requests.ListJobs(
        "default", 100, b"", [], "", "", {}, ""
    )
    assert requests.watch_job(pb.WatchJobRequest(job_id="j")) == requests.WatchJob(
        JobKey("default", "j"), b"", Delivery.EVERY_CHANGE, 1.0, False, False, 0, 15.0
    )


def test_a_question_for_a_job_is_read() -> None:
    request = pb.GetJobStatusRequest(
        project_id="p",
        job_id="j",
        page_size=5,
        page_token=b"\0t",
        granule_states=[pb.GRANULE_STATE_FAILED, pb.GRANULE_STATE_UNSPECIFIED, pb.GRANULE_STATE_FAILED],
        view=pb.JOB_VIEW_BASIC,
    )
    answer = requests.get_job_status(request)
    states = [GranuleState.UNSPECIFIED, GranuleState.FAILED]
    assert answer == requests.GetJobStatus(JobKey("p", "j"), 5, b"\0t", states, True)
    assert all(type(state) is GranuleState for state in answer.states)
    assert not requests.get_job_status(pb.GetJobStatusRequest(job_id="j", view=pb.JOB_VIEW_FULL)).basic


def test_a_question_for_jobs_is_read() -> None:
    request = pb.ListJobsRequest(
        project_id="p",
        page_size=5,
        page_token=b"t",
        states=[pb.JOB_STATE_RUNNING, pb.JOB_STATE_PENDING],
        system="orca",
        job_type="restore",
        labels={"k": "v"},
        parent_job_id="above",
    )
    answer = requests.list_jobs(request)
    states = [JobState.PENDING, JobState.RUNNING]
    assert answer == requests.ListJobs("p", 5, b"t", states, "orca", "restore", {"k": "v"}, "above")
    assert type(answer.labels) is dict


@pytest.mark.parametrize(("page_size", "granules", "jobs"), [(1, 1, 1), (10_001, 10_000, 1_000)])
def test_a_page_has_a_greatest_size(page_size: int, granules: int, jobs: int) -> None:
    assert requests.get_job_status(pb.GetJobStatusRequest(job_id="j", page_size=page_size)).limit == granules
    assert requests.list_jobs(pb.ListJobsRequest(page_size=page_size)).limit == jobs


def test_every_fault_of_a_question_is_named() -> None:
    get = pb.GetJobStatusRequest(
        page_size=-1,
        granule_states=[1, 7],  # type: ignore[list-item]
        view=9,  # type: ignore[arg-type]
    )
    assert faults(requests.get_job_status, get) == {
        "job_id": ("is required", MISSING),
        "page_size": ("is negative", INVALID),
        "granule_states[1]": ("7 is not a state", INVALID),
        "view": ("9 is not a view", INVALID),
    }
    listing = pb.ListJobsRequest(
        project_id="\n",
        page_size=-1,
        states=[5],  # type: ignore[list-item]
        system="\0",
        job_type="\0",
        labels={"": ""},
    )
    assert set(faults(requests.list_jobs, listing)) == {
        "project_id",
        "page_size",
        "states[0]",
        "system",
        "job_type",
        'labels[""]',
    }
    watch = pb.WatchJobRequest(
        delivery=9,  # type: ignore[arg-type]
        min_interval=Duration(nanos=1),
        max_frames=-1,
        heartbeat_interval=Duration(seconds=61),
    )
    assert set(faults(requests.watch_job, watch)) == {
        "job_id",
        "delivery",
        "min_interval",
        "max_frames",
        "heartbeat_interval",
    }


def test_a_watch_is_read() -> None:
    request = pb.WatchJobRequest(
        project_id="p",
        job_id="j",
        resume_token=b"r",
        delivery=pb.DELIVERY_LATEST,
        min_interval=Duration(nanos=200_000_000),
        wait_for_job=True,
        snapshot_only=True,
        max_frames=3,
        heartbeat_interval=Duration(seconds=1, nanos=500_000_000),
    )
    assert requests.watch_job(request) == requests.WatchJob(
        JobKey("p", "j"), b"r", Delivery.LATEST, 0.2, True, True, 3, 1.5
    )


@pytest.mark.parametrize(("seconds", "interval"), [(0, 15.0), (1, 1.0), (60, 60.0)])
def test_a_heartbeat_interval_is_from_one_to_sixty_seconds_or_the_default(
    seconds: int, interval: float
) -> None:
    request = pb.WatchJobRequest(job_id="j", heartbeat_interval=Duration(seconds=seconds))
    assert requests.watch_job(request).heartbeat_interval == interval


@pytest.mark.parametrize(
    ("seconds", "nanos", "words"),
    [
        (0, 999_999_999, "is not from 1 to 60 seconds"),
        (60, 1, "is not from 1 to 60 seconds"),
        (-1, 0, "is not from 1 to 60 seconds"),
        (0, -1, "is not from 1 to 60 seconds"),
        (2, -1, "is not a valid duration"),
        (-2, 1, "is not a valid duration"),
        (1, 1_000_000_000, "is not a valid duration"),
        (315_576_000_001, 0, "is not a valid duration"),
    ],
)
def test_any_other_heartbeat_interval_is_a_fault(seconds: int, nanos: int, words: str) -> None:
    request = pb.WatchJobRequest(job_id="j", heartbeat_interval=Duration(seconds=seconds, nanos=nanos))
    assert faults(requests.watch_job, request) == {"heartbeat_interval": (words, INVALID)}

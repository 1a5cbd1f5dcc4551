"""Checks what the service promises of a watch, from the client's side of live streams.

`Checker` takes the frames of one watch, `Minutes` holds the checkers of one job against each other, and
`Probe` watches a job of a running server with several of them, some of which resume on purpose.
"""

from jobstatus_grpc.verify.checker import Checker as Checker
from jobstatus_grpc.verify.minutes import Minutes as Minutes
from jobstatus_grpc.verify.probe import Findings as Findings
from jobstatus_grpc.verify.probe import Probe as Probe
from jobstatus_grpc.verify.record import Breach as Breach
from jobstatus_grpc.verify.record import Guarantee as Guarantee
from jobstatus_grpc.verify.stream import Asked as Asked

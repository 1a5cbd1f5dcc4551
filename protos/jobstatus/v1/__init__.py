"""The contract in Python: every message, enum and service of `jobstatus.v1` under one name.

from jobstatus import v1 as pb
"""

from jobstatus.v1.details_pb2 import *  # noqa: F403
from jobstatus.v1.job_document_service_pb2 import *  # noqa: F403
from jobstatus.v1.job_document_service_pb2_grpc import (
    JobDocumentServiceServicer as JobDocumentServiceServicer,
)
from jobstatus.v1.job_document_service_pb2_grpc import (
    JobDocumentServiceStub as JobDocumentServiceStub,
)
from jobstatus.v1.job_document_service_pb2_grpc import (
    add_JobDocumentServiceServicer_to_server as add_JobDocumentServiceServicer_to_server,
)
from jobstatus.v1.job_report_service_pb2 import *  # noqa: F403
from jobstatus.v1.job_report_service_pb2_grpc import (
    JobReportServiceServicer as JobReportServiceServicer,
)
from jobstatus.v1.job_report_service_pb2_grpc import (
    JobReportServiceStub as JobReportServiceStub,
)
from jobstatus.v1.job_report_service_pb2_grpc import (
    add_JobReportServiceServicer_to_server as add_JobReportServiceServicer_to_server,
)
from jobstatus.v1.job_status_service_pb2 import *  # noqa: F403
from jobstatus.v1.job_status_service_pb2_grpc import (
    JobStatusServiceServicer as JobStatusServiceServicer,
)
from jobstatus.v1.job_status_service_pb2_grpc import (
    JobStatusServiceStub as JobStatusServiceStub,
)
from jobstatus.v1.job_status_service_pb2_grpc import (
    add_JobStatusServiceServicer_to_server as add_JobStatusServiceServicer_to_server,
)
from jobstatus.v1.resources_pb2 import *  # noqa: F403

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrcaDetails(_message.Message):
    __slots__ = ("totals", "other_fields")
    class OtherFieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    totals: OrcaTotals
    other_fields: _containers.ScalarMap[str, str]
    def __init__(self, totals: _Optional[_Union[OrcaTotals, _Mapping]] = ..., other_fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class OrcaTotals(_message.Message):
    __slots__ = ("pending_count", "staged_count", "success_count", "failed_count", "error_count")
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    STAGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    pending_count: int
    staged_count: int
    success_count: int
    failed_count: int
    error_count: int
    def __init__(self, pending_count: _Optional[int] = ..., staged_count: _Optional[int] = ..., success_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., error_count: _Optional[int] = ...) -> None: ...

class SdrsDetails(_message.Message):
    __slots__ = ("entities", "failure_status", "resource_id", "resource_name", "resource_type", "other_fields")
    class OtherFieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_STATUS_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    entities: SdrsEntities
    failure_status: str
    resource_id: str
    resource_name: str
    resource_type: str
    other_fields: _containers.ScalarMap[str, str]
    def __init__(self, entities: _Optional[_Union[SdrsEntities, _Mapping]] = ..., failure_status: _Optional[str] = ..., resource_id: _Optional[str] = ..., resource_name: _Optional[str] = ..., resource_type: _Optional[str] = ..., other_fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SdrsEntities(_message.Message):
    __slots__ = ("server_group_id", "protected_instance_id", "replication_pair_id", "native_server_id", "nic_id", "volume_ids", "other_entities")
    class OtherEntitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SERVER_GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICATION_PAIR_ID_FIELD_NUMBER: _ClassVar[int]
    NATIVE_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    NIC_ID_FIELD_NUMBER: _ClassVar[int]
    VOLUME_IDS_FIELD_NUMBER: _ClassVar[int]
    OTHER_ENTITIES_FIELD_NUMBER: _ClassVar[int]
    server_group_id: str
    protected_instance_id: str
    replication_pair_id: str
    native_server_id: str
    nic_id: str
    volume_ids: str
    other_entities: _containers.ScalarMap[str, str]
    def __init__(self, server_group_id: _Optional[str] = ..., protected_instance_id: _Optional[str] = ..., replication_pair_id: _Optional[str] = ..., native_server_id: _Optional[str] = ..., nic_id: _Optional[str] = ..., volume_ids: _Optional[str] = ..., other_entities: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SfsTurboDetails(_message.Message):
    __slots__ = ("other_fields",)
    class OtherFieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OTHER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    other_fields: _containers.ScalarMap[str, str]
    def __init__(self, other_fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GlacierDetails(_message.Message):
    __slots__ = ("archive_id", "vault_arn", "archive_size_bytes", "inventory_size_bytes", "sns_topic", "sha256_tree_hash", "archive_sha256_tree_hash", "retrieval_byte_range", "tier", "inventory_retrieval_parameters", "job_output_path", "select_parameters", "output_location", "other_fields")
    class OtherFieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ARCHIVE_ID_FIELD_NUMBER: _ClassVar[int]
    VAULT_ARN_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNS_TOPIC_FIELD_NUMBER: _ClassVar[int]
    SHA256_TREE_HASH_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_SHA256_TREE_HASH_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_BYTE_RANGE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_RETRIEVAL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    JOB_OUTPUT_PATH_FIELD_NUMBER: _ClassVar[int]
    SELECT_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_LOCATION_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    archive_id: str
    vault_arn: str
    archive_size_bytes: int
    inventory_size_bytes: int
    sns_topic: str
    sha256_tree_hash: str
    archive_sha256_tree_hash: str
    retrieval_byte_range: str
    tier: str
    inventory_retrieval_parameters: GlacierInventoryRetrievalParameters
    job_output_path: str
    select_parameters: GlacierSelectParameters
    output_location: GlacierOutputLocation
    other_fields: _containers.ScalarMap[str, str]
    def __init__(self, archive_id: _Optional[str] = ..., vault_arn: _Optional[str] = ..., archive_size_bytes: _Optional[int] = ..., inventory_size_bytes: _Optional[int] = ..., sns_topic: _Optional[str] = ..., sha256_tree_hash: _Optional[str] = ..., archive_sha256_tree_hash: _Optional[str] = ..., retrieval_byte_range: _Optional[str] = ..., tier: _Optional[str] = ..., inventory_retrieval_parameters: _Optional[_Union[GlacierInventoryRetrievalParameters, _Mapping]] = ..., job_output_path: _Optional[str] = ..., select_parameters: _Optional[_Union[GlacierSelectParameters, _Mapping]] = ..., output_location: _Optional[_Union[GlacierOutputLocation, _Mapping]] = ..., other_fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GlacierInventoryRetrievalParameters(_message.Message):
    __slots__ = ("format", "start_date", "end_date", "limit", "marker")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    format: str
    start_date: str
    end_date: str
    limit: str
    marker: str
    def __init__(self, format: _Optional[str] = ..., start_date: _Optional[str] = ..., end_date: _Optional[str] = ..., limit: _Optional[str] = ..., marker: _Optional[str] = ...) -> None: ...

class GlacierSelectParameters(_message.Message):
    __slots__ = ("input_serialization", "expression_type", "expression", "output_serialization")
    INPUT_SERIALIZATION_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SERIALIZATION_FIELD_NUMBER: _ClassVar[int]
    input_serialization: GlacierInputSerialization
    expression_type: str
    expression: str
    output_serialization: GlacierOutputSerialization
    def __init__(self, input_serialization: _Optional[_Union[GlacierInputSerialization, _Mapping]] = ..., expression_type: _Optional[str] = ..., expression: _Optional[str] = ..., output_serialization: _Optional[_Union[GlacierOutputSerialization, _Mapping]] = ...) -> None: ...

class GlacierInputSerialization(_message.Message):
    __slots__ = ("csv",)
    CSV_FIELD_NUMBER: _ClassVar[int]
    csv: GlacierCsvInput
    def __init__(self, csv: _Optional[_Union[GlacierCsvInput, _Mapping]] = ...) -> None: ...

class GlacierCsvInput(_message.Message):
    __slots__ = ("file_header_info", "comments", "quote_escape_character", "record_delimiter", "field_delimiter", "quote_character")
    FILE_HEADER_INFO_FIELD_NUMBER: _ClassVar[int]
    COMMENTS_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ESCAPE_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    RECORD_DELIMITER_FIELD_NUMBER: _ClassVar[int]
    FIELD_DELIMITER_FIELD_NUMBER: _ClassVar[int]
    QUOTE_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    file_header_info: str
    comments: str
    quote_escape_character: str
    record_delimiter: str
    field_delimiter: str
    quote_character: str
    def __init__(self, file_header_info: _Optional[str] = ..., comments: _Optional[str] = ..., quote_escape_character: _Optional[str] = ..., record_delimiter: _Optional[str] = ..., field_delimiter: _Optional[str] = ..., quote_character: _Optional[str] = ...) -> None: ...

class GlacierOutputSerialization(_message.Message):
    __slots__ = ("csv",)
    CSV_FIELD_NUMBER: _ClassVar[int]
    csv: GlacierCsvOutput
    def __init__(self, csv: _Optional[_Union[GlacierCsvOutput, _Mapping]] = ...) -> None: ...

class GlacierCsvOutput(_message.Message):
    __slots__ = ("quote_fields", "quote_escape_character", "record_delimiter", "field_delimiter", "quote_character")
    QUOTE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ESCAPE_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    RECORD_DELIMITER_FIELD_NUMBER: _ClassVar[int]
    FIELD_DELIMITER_FIELD_NUMBER: _ClassVar[int]
    QUOTE_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    quote_fields: str
    quote_escape_character: str
    record_delimiter: str
    field_delimiter: str
    quote_character: str
    def __init__(self, quote_fields: _Optional[str] = ..., quote_escape_character: _Optional[str] = ..., record_delimiter: _Optional[str] = ..., field_delimiter: _Optional[str] = ..., quote_character: _Optional[str] = ...) -> None: ...

class GlacierOutputLocation(_message.Message):
    __slots__ = ("s3",)
    S3_FIELD_NUMBER: _ClassVar[int]
    s3: GlacierS3Location
    def __init__(self, s3: _Optional[_Union[GlacierS3Location, _Mapping]] = ...) -> None: ...

class GlacierS3Location(_message.Message):
    __slots__ = ("bucket_name", "prefix", "encryption", "canned_acl", "access_control_list", "tagging", "user_metadata", "storage_class")
    class TaggingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class UserMetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BUCKET_NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    CANNED_ACL_FIELD_NUMBER: _ClassVar[int]
    ACCESS_CONTROL_LIST_FIELD_NUMBER: _ClassVar[int]
    TAGGING_FIELD_NUMBER: _ClassVar[int]
    USER_METADATA_FIELD_NUMBER: _ClassVar[int]
    STORAGE_CLASS_FIELD_NUMBER: _ClassVar[int]
    bucket_name: str
    prefix: str
    encryption: GlacierEncryption
    canned_acl: str
    access_control_list: _containers.RepeatedCompositeFieldContainer[GlacierGrant]
    tagging: _containers.ScalarMap[str, str]
    user_metadata: _containers.ScalarMap[str, str]
    storage_class: str
    def __init__(self, bucket_name: _Optional[str] = ..., prefix: _Optional[str] = ..., encryption: _Optional[_Union[GlacierEncryption, _Mapping]] = ..., canned_acl: _Optional[str] = ..., access_control_list: _Optional[_Iterable[_Union[GlacierGrant, _Mapping]]] = ..., tagging: _Optional[_Mapping[str, str]] = ..., user_metadata: _Optional[_Mapping[str, str]] = ..., storage_class: _Optional[str] = ...) -> None: ...

class GlacierEncryption(_message.Message):
    __slots__ = ("encryption_type", "kms_key_id", "kms_context")
    ENCRYPTION_TYPE_FIELD_NUMBER: _ClassVar[int]
    KMS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KMS_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    encryption_type: str
    kms_key_id: str
    kms_context: str
    def __init__(self, encryption_type: _Optional[str] = ..., kms_key_id: _Optional[str] = ..., kms_context: _Optional[str] = ...) -> None: ...

class GlacierGrant(_message.Message):
    __slots__ = ("grantee", "permission")
    GRANTEE_FIELD_NUMBER: _ClassVar[int]
    PERMISSION_FIELD_NUMBER: _ClassVar[int]
    grantee: GlacierGrantee
    permission: str
    def __init__(self, grantee: _Optional[_Union[GlacierGrantee, _Mapping]] = ..., permission: _Optional[str] = ...) -> None: ...

class GlacierGrantee(_message.Message):
    __slots__ = ("type", "display_name", "uri", "id", "email_address")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EMAIL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    type: str
    display_name: str
    uri: str
    id: str
    email_address: str
    def __init__(self, type: _Optional[str] = ..., display_name: _Optional[str] = ..., uri: _Optional[str] = ..., id: _Optional[str] = ..., email_address: _Optional[str] = ...) -> None: ...

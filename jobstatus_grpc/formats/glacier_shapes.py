"""Which keys of Glacier's DescribeJob the fields of GlacierDetails hold."""

from __future__ import annotations

from typing import Final

from jobstatus_grpc.formats.shapes import Field, Kind, ListOf, Shape

_INVENTORY: Final = Shape(
    {
        "EndDate": Field("end_date"),
        "Format": Field("format"),
        "Limit": Field("limit"),
        "Marker": Field("marker"),
        "StartDate": Field("start_date"),
    }
)
_DELIMITERS: Final = {
    "FieldDelimiter": Field("field_delimiter"),
    "QuoteCharacter": Field("quote_character"),
    "QuoteEscapeCharacter": Field("quote_escape_character"),
    "RecordDelimiter": Field("record_delimiter"),
}
_CSV_INPUT: Final = Shape(
    {"Comments": Field("comments"), "FileHeaderInfo": Field("file_header_info")} | _DELIMITERS
)
_CSV_OUTPUT: Final = Shape({"QuoteFields": Field("quote_fields")} | _DELIMITERS)
_SELECT: Final = Shape(
    {
        "Expression": Field("expression"),
        "ExpressionType": Field("expression_type"),
        "InputSerialization": Field("input_serialization", Shape({"csv": Field("csv", _CSV_INPUT)})),
        "OutputSerialization": Field("output_serialization", Shape({"csv": Field("csv", _CSV_OUTPUT)})),
    }
)
_GRANTEE: Final = Shape(
    {
        "DisplayName": Field("display_name"),
        "EmailAddress": Field("email_address"),
        "ID": Field("id"),
        "Type": Field("type"),
        "URI": Field("uri"),
    }
)
_GRANT: Final = Shape({"Grantee": Field("grantee", _GRANTEE), "Permission": Field("permission")})
_ENCRYPTION: Final = Shape(
    {
        "EncryptionType": Field("encryption_type"),
        "KMSContext": Field("kms_context"),
        "KMSKeyId": Field("kms_key_id"),
    }
)
_S3: Final = Shape(
    {
        "AccessControlList": Field("access_control_list", ListOf(_GRANT)),
        "BucketName": Field("bucket_name"),
        "CannedACL": Field("canned_acl"),
        "Encryption": Field("encryption", _ENCRYPTION),
        "Prefix": Field("prefix"),
        "StorageClass": Field("storage_class"),
        "Tagging": Field("tagging", Kind.TEXTS),
        "UserMetadata": Field("user_metadata", Kind.TEXTS),
    }
)
DETAILS: Final = Shape(
    {
        "ArchiveId": Field("archive_id"),
        "ArchiveSHA256TreeHash": Field("archive_sha256_tree_hash"),
        "ArchiveSizeInBytes": Field("archive_size_bytes", Kind.WHOLE),
        "InventoryRetrievalParameters": Field("inventory_retrieval_parameters", _INVENTORY),
        "InventorySizeInBytes": Field("inventory_size_bytes", Kind.WHOLE),
        "JobOutputPath": Field("job_output_path"),
        "OutputLocation": Field("output_location", Shape({"S3": Field("s3", _S3)})),
        "RetrievalByteRange": Field("retrieval_byte_range"),
        "SHA256TreeHash": Field("sha256_tree_hash"),
        "SNSTopic": Field("sns_topic"),
        "SelectParameters": Field("select_parameters", _SELECT),
        "Tier": Field("tier"),
        "VaultARN": Field("vault_arn"),
    },
    others="other_fields",
)

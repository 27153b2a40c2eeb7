from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IterationFrame(_message.Message):
    __slots__ = ("schema_version", "group_id", "engine_id", "incarnation", "incarnation_start_ns", "sequence", "start_ns", "end_us", "watermark_us", "iterations", "requests", "spans", "exceptions", "rows", "new_tokens", "tenants", "loads", "adapters", "prefix_groups", "iteration_gap_us", "iteration_duration_us", "iteration_kind", "iteration_padded_tokens", "request_client_id_prefix", "request_ordinal_delta", "request_load_ordinal_delta", "request_tenant", "request_load_or_none", "request_adapter_or_none", "request_prefix_group_or_none", "request_prompt_tokens", "request_cached_tokens", "request_client_id_length", "span_request_delta", "span_entry_beyond_prompt", "span_first_iteration", "span_length", "exception_row_delta", "exception_new_tokens", "exception_drafts", "exception_rejected", "exception_emitted", "request_client_ids")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_START_NS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_US_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_US_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_GROUPS_FIELD_NUMBER: _ClassVar[int]
    ITERATION_GAP_US_FIELD_NUMBER: _ClassVar[int]
    ITERATION_DURATION_US_FIELD_NUMBER: _ClassVar[int]
    ITERATION_KIND_FIELD_NUMBER: _ClassVar[int]
    ITERATION_PADDED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CLIENT_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ORDINAL_DELTA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_LOAD_ORDINAL_DELTA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TENANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_LOAD_OR_NONE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ADAPTER_OR_NONE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PREFIX_GROUP_OR_NONE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CLIENT_ID_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SPAN_REQUEST_DELTA_FIELD_NUMBER: _ClassVar[int]
    SPAN_ENTRY_BEYOND_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIRST_ITERATION_FIELD_NUMBER: _ClassVar[int]
    SPAN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_ROW_DELTA_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_DRAFTS_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_REJECTED_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_EMITTED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    group_id: str
    engine_id: str
    incarnation: str
    incarnation_start_ns: int
    sequence: int
    start_ns: int
    end_us: int
    watermark_us: int
    iterations: int
    requests: int
    spans: int
    exceptions: int
    rows: int
    new_tokens: int
    tenants: _containers.RepeatedScalarFieldContainer[str]
    loads: _containers.RepeatedScalarFieldContainer[str]
    adapters: _containers.RepeatedScalarFieldContainer[str]
    prefix_groups: bytes
    iteration_gap_us: bytes
    iteration_duration_us: bytes
    iteration_kind: bytes
    iteration_padded_tokens: bytes
    request_client_id_prefix: str
    request_ordinal_delta: bytes
    request_load_ordinal_delta: bytes
    request_tenant: bytes
    request_load_or_none: bytes
    request_adapter_or_none: bytes
    request_prefix_group_or_none: bytes
    request_prompt_tokens: bytes
    request_cached_tokens: bytes
    request_client_id_length: bytes
    span_request_delta: bytes
    span_entry_beyond_prompt: bytes
    span_first_iteration: bytes
    span_length: bytes
    exception_row_delta: bytes
    exception_new_tokens: bytes
    exception_drafts: bytes
    exception_rejected: bytes
    exception_emitted: bytes
    request_client_ids: str
    def __init__(self, schema_version: _Optional[int] = ..., group_id: _Optional[str] = ..., engine_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., incarnation_start_ns: _Optional[int] = ..., sequence: _Optional[int] = ..., start_ns: _Optional[int] = ..., end_us: _Optional[int] = ..., watermark_us: _Optional[int] = ..., iterations: _Optional[int] = ..., requests: _Optional[int] = ..., spans: _Optional[int] = ..., exceptions: _Optional[int] = ..., rows: _Optional[int] = ..., new_tokens: _Optional[int] = ..., tenants: _Optional[_Iterable[str]] = ..., loads: _Optional[_Iterable[str]] = ..., adapters: _Optional[_Iterable[str]] = ..., prefix_groups: _Optional[bytes] = ..., iteration_gap_us: _Optional[bytes] = ..., iteration_duration_us: _Optional[bytes] = ..., iteration_kind: _Optional[bytes] = ..., iteration_padded_tokens: _Optional[bytes] = ..., request_client_id_prefix: _Optional[str] = ..., request_ordinal_delta: _Optional[bytes] = ..., request_load_ordinal_delta: _Optional[bytes] = ..., request_tenant: _Optional[bytes] = ..., request_load_or_none: _Optional[bytes] = ..., request_adapter_or_none: _Optional[bytes] = ..., request_prefix_group_or_none: _Optional[bytes] = ..., request_prompt_tokens: _Optional[bytes] = ..., request_cached_tokens: _Optional[bytes] = ..., request_client_id_length: _Optional[bytes] = ..., span_request_delta: _Optional[bytes] = ..., span_entry_beyond_prompt: _Optional[bytes] = ..., span_first_iteration: _Optional[bytes] = ..., span_length: _Optional[bytes] = ..., exception_row_delta: _Optional[bytes] = ..., exception_new_tokens: _Optional[bytes] = ..., exception_drafts: _Optional[bytes] = ..., exception_rejected: _Optional[bytes] = ..., exception_emitted: _Optional[bytes] = ..., request_client_ids: _Optional[str] = ...) -> None: ...

class Meter(_message.Message):
    __slots__ = ("meter_id", "kind", "epoch", "scope", "source", "base_uj")
    METER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BASE_UJ_FIELD_NUMBER: _ClassVar[int]
    meter_id: str
    kind: str
    epoch: str
    scope: str
    source: str
    base_uj: int
    def __init__(self, meter_id: _Optional[str] = ..., kind: _Optional[str] = ..., epoch: _Optional[str] = ..., scope: _Optional[str] = ..., source: _Optional[str] = ..., base_uj: _Optional[int] = ...) -> None: ...

class ActiveLoad(_message.Message):
    __slots__ = ("load_id", "engine_id", "start_ns", "end_ns")
    LOAD_ID_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    load_id: str
    engine_id: str
    start_ns: int
    end_ns: int
    def __init__(self, load_id: _Optional[str] = ..., engine_id: _Optional[str] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ...) -> None: ...

class EnergyFrame(_message.Message):
    __slots__ = ("schema_version", "group_id", "node_id", "incarnation", "sequence", "start_ns", "end_offset_ns", "watermark_offset_ns", "readings", "engines", "loads", "meters", "reading_meter", "reading_offset_ns", "reading_uj")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    READING_METER_FIELD_NUMBER: _ClassVar[int]
    READING_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    READING_UJ_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    group_id: str
    node_id: str
    incarnation: str
    sequence: int
    start_ns: int
    end_offset_ns: int
    watermark_offset_ns: int
    readings: int
    engines: _containers.RepeatedScalarFieldContainer[str]
    loads: _containers.RepeatedCompositeFieldContainer[ActiveLoad]
    meters: _containers.RepeatedCompositeFieldContainer[Meter]
    reading_meter: bytes
    reading_offset_ns: bytes
    reading_uj: bytes
    def __init__(self, schema_version: _Optional[int] = ..., group_id: _Optional[str] = ..., node_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., sequence: _Optional[int] = ..., start_ns: _Optional[int] = ..., end_offset_ns: _Optional[int] = ..., watermark_offset_ns: _Optional[int] = ..., readings: _Optional[int] = ..., engines: _Optional[_Iterable[str]] = ..., loads: _Optional[_Iterable[_Union[ActiveLoad, _Mapping]]] = ..., meters: _Optional[_Iterable[_Union[Meter, _Mapping]]] = ..., reading_meter: _Optional[bytes] = ..., reading_offset_ns: _Optional[bytes] = ..., reading_uj: _Optional[bytes] = ...) -> None: ...

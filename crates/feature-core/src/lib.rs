#![doc = include_str!("../README.md")]

mod backend;
mod entity;
mod error;
mod escape;
mod features;
mod json;
mod key;
mod merge;
mod names;
mod record;
mod row;
mod settings;
mod store;
mod time;
mod value;
mod view;
mod wrapper;

pub use backend::{
    CallContext, Capabilities, Health, OnlineStoreBackend, Precondition, PurgeProgress, PurgeReport,
    PutOutcome, RecordPut, VersionedRecord,
};
pub use entity::{EntityKey, EntityKeyBuilder, EntityValue};
pub use error::{Error, ErrorKind, Result};
pub use escape::{escape_into, unescape};
pub use features::Features;
pub use key::{RecordKey, SYSTEM_TENANT, Scope, ViewKey};
pub use merge::merge;
pub use names::FeatureNames;
pub use record::{
    MAX_FEATURE_NAME_BYTES, MAX_FEATURES, MAX_RECORD_BYTES, Record, RecordFeature, RecordHeader, ValueSink,
};
pub use row::{FeatureRow, FeatureSink, FeatureStatus, FoundRecord, RowDecoder, RowPlace};
pub use settings::{Params, Secret, StoreUrl};
pub use store::{
    BatchRows, FeatureWrite, OnlineStore, OnlineStoreBuilder, RequestInfo, RequestObserver, StoreSettings,
    ViewRead, WriteMode, WriteOutcome, WriteReport,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp, Ttl, format_duration, parse_duration};
pub use value::{FeatureValue, ValueType};
pub use view::{FeatureView, ViewPart};
pub use wrapper::BackendWrapper;

#![doc = include_str!("../README.md")]

mod migration;
pub mod observe;
mod pattern;
mod registry;
mod request;
mod settings;
mod store;
mod wrappers;

pub use migration::{
    Comparison, Difference, MigrationProgress, MigrationSettings, MigrationStatus, Migrations, Phase,
    StartOptions, Step, Verified,
};
pub use pattern::Pattern;
pub use registry::{FeatureRef, FeatureService, Force, Registry, RegistryBuilder, view_contradictions};
pub use request::{
    CellStatus, ColumnSlice, FeatureColumn, FeatureRequest, FeatureTable, RowError, TableCell, TableRow,
};
pub use settings::{Field, Problem, Problems, Section, Settings, SettingsFormat, SettingsReader, StoreEntry};
pub use store::{
    Decision, Destination, RouteRule, StoreRule, TenantRule, UnifiedFeatureStore, UnifiedFeatureStoreBuilder,
};
pub use wrappers::provenance;
pub use wrappers::{
    CacheSettings, CacheStats, Cached, Circuit, CircuitSettings, Fallback, FallbackSettings, HedgeSettings,
    Hedged, LimitSettings, Limited, MirrorSettings, Mirrored, Observed, Quota, Quotas, RetrySettings,
    Retrying, Route, Routed,
};

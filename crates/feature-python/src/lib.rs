//! The compiled part of the Python package `feature-store`: its module `feature_store._native`. What users see is in
//! `python/feature_store`.

mod awaiting;
mod entity;
mod error;
mod open;
mod program;
mod runtime;
mod store;
mod table;
mod url;
mod value;

use pyo3::prelude::*;

/// The Rust core of `feature_store`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::program::run_program;
    #[pymodule_export]
    use crate::store::{Scan, Store};
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::url::store_url;
}

//! The cases, by subject.

mod batches;
mod concurrency;
mod contract;
mod expiry;
mod far;
mod histories;
mod identity;
mod instances;
mod limits;
mod model;
mod precision;
mod reads;
mod records;
mod reopening;
mod scan_purge;
mod values;
mod writes;

use crate::case::{Case, Subject};

/// Adds the cases of a subject.
type Add = fn(&mut Subject<'_>);

/// Every case, in the order of the subjects.
pub(crate) fn cases() -> Vec<Case> {
    let subjects: [(&'static str, Add); 17] = [
        ("identity", identity::add),
        ("far", far::add),
        ("values", values::add),
        ("reads", reads::add),
        ("writes", writes::add),
        ("records", records::add),
        ("expiry", expiry::add),
        ("limits", limits::add),
        ("batches", batches::add),
        ("concurrency", concurrency::add),
        ("histories", histories::add),
        ("scan_purge", scan_purge::add),
        ("contract", contract::add),
        ("precision", precision::add),
        ("instances", instances::add),
        ("reopening", reopening::add),
        ("model", model::add),
    ];
    let mut cases = Vec::new();
    for (name, add) in subjects {
        add(&mut Subject { name, cases: &mut cases });
    }
    cases
}

//! What is declared.

use std::time::Duration;

use feature_core::{FeatureView, Ttl};
use store_unified::{FeatureService, Registry};

use super::call::Method;
use super::measure::{SMALL, Shape};
use super::proto::fstore as pb;
use super::value::type_number;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// `Describe`.
pub(super) struct Describe;

impl Method for Describe {
    const ROUTE: Route = Route::Describe;
    const SHAPE: &'static Shape = &SMALL;
    type Request = pb::DescribeRequest;
    type Response = pb::DescribeResponse;

    async fn handle(call: &mut Call, _: pb::DescribeRequest) -> Result<pb::DescribeResponse, Refusal> {
        let registry = call.registry();
        Ok(pb::DescribeResponse {
            views: registry.into_iter().flat_map(Registry::views).map(view).collect(),
            services: registry.into_iter().flat_map(Registry::services).map(service).collect(),
        })
    }
}

fn view(view: &FeatureView) -> pb::FeatureView {
    let feature = |(name, value_type): (&String, &feature_core::ValueType)| pb::Feature {
        name: name.clone(),
        r#type: type_number(*value_type),
    };
    pb::FeatureView {
        name: view.name.clone(),
        description: view.description.clone(),
        join_keys: view.entities.clone(),
        features: view.features.iter().map(feature).collect(),
        ttl_micros: view.ttl.and_then(|ttl| match ttl {
            Ttl::Never => None,
            Ttl::After(time) => Some(micros(time)),
        }),
        max_age_micros: view.max_age.map(micros),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn service(service: &FeatureService) -> pb::FeatureService {
    pb::FeatureService {
        name: service.name.clone(),
        description: service.description.clone(),
        features: service.features.iter().map(ToString::to_string).collect(),
    }
}

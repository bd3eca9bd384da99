//! Numbers, durations and sizes: defaults and bounds.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::*;
use super::{says, yaml};
use crate::pattern::Pattern;
use crate::wrappers::{
    CacheSettings, CircuitSettings, FallbackSettings, HedgeSettings, LimitSettings, MirrorSettings, Quota,
    RetrySettings,
};

#[test]
fn policies_have_defaults_and_bounds() {
    let settings = yaml(
        "
stores:
  a: {url: 'memory:', retry: {}, hedge: {after: 3ms}, circuit: {in_a_row: 5}, limit: {max_queued: 0}}
  b: {url: 'memory:', retry: {min_delay: 1s}}
default: {store: a, fallback: {store: b, after: 8ms}}
",
    )
    .unwrap();
    let a = &settings.stores[0];
    assert_eq!(a.retry, Some(RetrySettings::default()));
    assert_eq!(a.hedge, Some(HedgeSettings { after: Duration::from_millis(3), ..Default::default() }));
    assert_eq!(a.circuit, Some(CircuitSettings { in_a_row: 5, ..Default::default() }));
    assert_eq!(a.limit, Some(LimitSettings { max_queued: 0, ..Default::default() }));
    let b = &settings.stores[1];
    assert_eq!((b.hedge, b.circuit, b.limit), (None, None, None));
    assert_eq!(b.retry.unwrap().max_delay, Duration::from_secs(1), "no shorter than the shortest");
    let fallback = FallbackSettings { after: Duration::from_millis(8) };
    assert_eq!(settings.default, Destination::new("a").with_fallback("b", fallback));

    says(
        "stores:
  a:
    url: 'memory:'
    retry:
      max_retries: 0
      min_delay: 10ms
      max_delay: 5ms
      max_extra: 2
    hedge: {after: 0s, max_extra: '5%'}
    circuit:
      in_a_row: ten
      failure_rate: 0
      slow: 0
      probe_every: 1
      probes: 0
    limit: {max_in_flight: 0, max_queued: -1}
default:
  store: a
  fallback:
    store: a
    after: 8
routes:
- {store: a, fallback: {stor: a}}
",
        &[
            "5: stores.a.retry.max_retries: expected a whole number from 1 to 100, found the number 0",
            "7: stores.a.retry.max_delay: expected a duration of at least 10ms",
            "8: stores.a.retry.max_extra: expected a number from 0 to 1, found the number 2",
            "9: stores.a.hedge.after: expected a duration above zero",
            "9: stores.a.hedge.max_extra: expected a number from 0 to 1, found the text `5%`",
            "11: stores.a.circuit.in_a_row: expected a whole number from 1 to 1000000, found the text `ten`",
            "12: stores.a.circuit.failure_rate: expected a number from 0.01 to 1",
            "13: stores.a.circuit.slow: expected a duration",
            "14: stores.a.circuit.probe_every: expected a duration",
            "15: stores.a.circuit.probes: expected a whole number",
            "16: stores.a.limit.max_in_flight: expected a whole number from 1",
            "16: stores.a.limit.max_queued: expected a whole number from 0",
            "20: default.fallback.store: a store cannot be its own fallback",
            "21: default.fallback.after: expected a duration",
            "23: routes[0].fallback.store: it is missing",
            "23: routes[0].fallback.stor: unknown key; did you mean `store`?",
        ],
    );
}

#[test]
fn a_mirror_is_another_store() {
    let settings = yaml(
        "
stores: {a: 'memory:', b: 'memory:'}
routes: [{tenant: x, store: a, mirror: {store: b, required: true}}]
default: {store: b, mirror: {store: a}, fallback: {store: a}}
",
    )
    .unwrap();
    let mirror = |to: &str, required| MirrorSettings { to: to.to_owned(), required };
    assert_eq!(settings.routes[0].to, Destination::new("a").with_mirror(mirror("b", true)));
    let fallback = FallbackSettings::default();
    let default = Destination::new("b").with_mirror(mirror("a", false)).with_fallback("a", fallback);
    assert_eq!(settings.default, default);
    says(
        "stores: {a: 'memory:', b: 'memory:'}
default:
  store: a
  mirror: {store: a, required: 1}
routes:
- {store: b, mirror: b}
",
        &[
            "4: default.mirror.store: a store cannot be its own mirror",
            "4: default.mirror.required: expected true or false, found the number 1",
            "6: routes[0].mirror: expected a map, found the text `b`",
        ],
    );
}

#[test]
fn the_cache_is_off_unless_it_is_described() {
    let settings = |cache: &str| yaml(&format!("stores: {{a: 'memory:'}}\n{cache}"));
    assert_eq!(settings("").unwrap().cache, None);
    let cache = settings("cache: {max_bytes: 1MiB, ttl: 1s, views: {v: off, 'eu-*': 5s}}").unwrap().cache;
    let views = vec![
        (Pattern::Name("v".to_owned()), None),
        (Pattern::Prefix("eu-".to_owned()), Some(Duration::from_secs(5))),
    ];
    assert_eq!(cache, Some(CacheSettings { max_bytes: 1 << 20, ttl: Some(Duration::from_secs(1)), views }));
    for (size, bytes) in [("5", 5), ("3KiB", 3 << 10), ("2 GiB", 2 << 30), ("4KB", 4000), ("1MB", 1_000_000)]
    {
        let cache = settings(&format!("cache: {{ttl: 1s, max_bytes: {size}}}")).unwrap().cache.unwrap();
        assert_eq!(cache.max_bytes, bytes);
    }
    says(
        "stores: {a: 'memory:'}
feature_views: [{name: v, entities: [e], features: {x: bool}}]
cache:
  max_bytes: 64MB!
  ttl: 0s
  views:
    'v*': 1s
    v: 2s
    w: 3
    'a*b': 1s
",
        &[
            "4: cache.max_bytes: expected a size above zero, which is a whole number of bytes or one with KiB",
            "5: cache.ttl: expected a duration above zero",
            "8: cache.views.v: it never counts, since `v*` comes before it",
            "9: cache.views.w: there is no declared feature view `w`; known are v",
            "9: cache.views.w: expected a duration",
            "10: cache.views.a*b: `a*b` is not a pattern",
        ],
    );
    says("stores: {a: 'memory:'}\ncache: {max_bytes: 1}", &["2: cache: it caches nothing"]);
    says(
        "stores: {a: 'memory:'}\ncache: {ttl: 1s, max_bytes: 0}",
        &["2: cache.max_bytes: expected a size above"],
    );
}

#[test]
fn migrations_wait_for_the_longest_write() {
    let migration =
        |text: &str| yaml(&format!("stores: {{a: 'memory:'}}\n{text}")).map(|settings| settings.migration);
    assert_eq!(migration("").unwrap(), MigrationSettings::default());
    let of = |refresh, lease, longest_write| {
        let [refresh, lease, longest_write] = [refresh, lease, longest_write].map(Duration::from_millis);
        MigrationSettings { refresh, lease, longest_write }
    };
    assert_eq!(migration("deadline: 9s").unwrap(), of(1000, 5000, 9000));
    assert_eq!(migration("migration: {lease: 1s}").unwrap(), of(500, 1000, 5000));
    let all = "migration: {refresh: 100ms, lease: 1s, longest_write: 2s}\ndeadline: 50ms";
    assert_eq!(migration(all).unwrap(), of(100, 1000, 2000));
    says(
        "stores: {a: 'memory:'}
deadline: 3s
migration:
  lease: 2s
  refresh: 2s
  longest_write: 2s
",
        &[
            "5: migration.refresh: it must be shorter than the lease, which is 2s",
            "6: migration.longest_write: it must not be shorter than the deadline, which is 3s",
        ],
    );
}

#[test]
fn tenants_have_classes_and_quotas() {
    let settings = yaml(
        "
stores: {a: 'memory:'}
tenants:
- {tenant: acme, class: gold, quota: {reads_per_s: 7, burst: 2s}}
- {tenant: 'eu-*'}
",
    )
    .unwrap();
    let quota = Quota { reads_per_s: NonZeroU32::new(7), burst: Duration::from_secs(2), ..Quota::default() };
    let rule = |tenant: Pattern, class: &str, quota| TenantRule { tenant, class: class.to_owned(), quota };
    assert_eq!(
        settings.tenants,
        [
            rule(Pattern::Name("acme".to_owned()), "gold", quota),
            rule(Pattern::Prefix("eu-".to_owned()), "default", Quota::default())
        ]
    );
    says(
        "stores: {a: 'memory:'}
tenants:
- tenant: '*'
  quota:
    reads_per_s: 0
    writes_per_s: -1
    rows_per_s: 5000000000
    burst: 0s
    rows: 5
- {tenant: acme, class: ''}
- {tenant: other}
",
        &[
            "5: tenants[0].quota.reads_per_s: expected a whole number from 1 to 4294967295, found the number 0",
            "6: tenants[0].quota.writes_per_s: expected",
            "7: tenants[0].quota.rows_per_s: expected",
            "8: tenants[0].quota.burst: expected a duration from 1us to 1d",
            "9: tenants[0].quota.rows: unknown key; known are",
            "10: tenants[1]: it never counts, since the rule of line 3",
            "10: tenants[1].class: expected a name, found an empty text",
            "11: tenants[2]: it never counts",
        ],
    );
}

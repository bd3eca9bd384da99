//! Who is who: no name, however hostile, reaches another's record.

use feature_core::{EntityKey, ErrorKind, Scope};

use crate::case::{Context, Outcome, Subject, VIEW, at, entity, failure, ints, refused, same};

/// Names that have led stores astray.
const NAMES: [(&str, &str); 16] = [
    ("plain", "acme-corp"),
    ("blank", "two words"),
    ("trailing_blank", "acme "),
    ("colon", "a:b"),
    ("percent", "100%"),
    ("what_looks_escaped", "a%3Ab"),
    ("braces", "{slot}"),
    ("equals", "a=b"),
    ("pipe", "a|b"),
    ("underscore", "a_b_c"),
    ("glob", "a*?[b-c]\\*"),
    ("quotes", "a'b\"c`;--"),
    ("path", "../a//b/"),
    ("control_bytes", "a\0b\r\n\t\u{7f}\u{1b}"),
    ("unicode", "zürich 東京 👩‍🚀 \u{202e}שלום"),
    ("long", "name-name-name-name-name-name-name-name-name-name-name-name-name-name-name-name"),
];

/// Where a name can stand.
const PLACES: [&str; 4] = ["tenant", "view", "join_key", "entity_value"];

/// Two identities that a careless key would join: tenant suffix, view and join keys of each.
type Identity = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
const APART: [(&str, Identity, Identity); 20] = [
    ("underscore_between_tenant_and_view", ("a_b", "c", &[("id", "1")]), ("a", "b_c", &[("id", "1")])),
    ("colon_between_tenant_and_view", ("a:b", "c", &[("id", "1")]), ("a", "b:c", &[("id", "1")])),
    (
        "escape_and_what_it_stands_for_in_a_tenant",
        ("a:b", "v", &[("id", "1")]),
        ("a%3Ab", "v", &[("id", "1")]),
    ),
    ("escape_and_what_it_stands_for_in_a_view", ("t", "a:b", &[("id", "1")]), ("t", "a%3Ab", &[("id", "1")])),
    (
        "escape_and_what_it_stands_for_in_a_value",
        ("t", "v", &[("id", "a|b")]),
        ("t", "v", &[("id", "a%7Cb")]),
    ),
    ("upper_and_lower_hex_of_an_escape", ("t", "v", &[("id", "%7C")]), ("t", "v", &[("id", "%7c")])),
    ("tenant_that_begins_another", ("a", "v", &[("id", "1")]), ("ab", "v", &[("id", "1")])),
    ("view_that_begins_another", ("t", "v", &[("id", "1")]), ("t", "v2", &[("id", "1")])),
    ("upper_and_lower_case_tenant", ("Acme", "v", &[("id", "1")]), ("acme", "v", &[("id", "1")])),
    ("upper_and_lower_case_entity", ("t", "v", &[("id", "A1")]), ("t", "v", &[("id", "a1")])),
    ("composed_and_decomposed_letter", ("t", "v", &[("id", "\u{e9}")]), ("t", "v", &[("id", "e\u{301}")])),
    ("trailing_blank_in_an_entity", ("t", "v", &[("id", "x")]), ("t", "v", &[("id", "x ")])),
    ("trailing_nul_in_an_entity", ("t", "v", &[("id", "x")]), ("t", "v", &[("id", "x\0")])),
    ("braces_around_a_tenant", ("a", "v", &[("id", "1")]), ("{a}", "v", &[("id", "1")])),
    (
        "two_join_keys_and_one_value_like_them",
        ("t", "v", &[("a", "1"), ("b", "2")]),
        ("t", "v", &[("a", "1|b=2")]),
    ),
    ("equals_in_a_name_and_in_a_value", ("t", "v", &[("a=b", "c")]), ("t", "v", &[("a", "b=c")])),
    ("leading_zero", ("t", "v", &[("id", "7")]), ("t", "v", &[("id", "07")])),
    ("empty_and_blank_value", ("t", "v", &[("id", "")]), ("t", "v", &[("id", " ")])),
    ("same_value_under_another_join_key", ("t", "v", &[("a", "1")]), ("t", "v", &[("b", "1")])),
    (
        "entity_that_looks_like_view_and_entity",
        ("t", "v", &[("id", "1:v:id=2")]),
        ("t", "v:id=1", &[("v:id", "2")]),
    ),
];

pub(super) fn add(s: &mut Subject<'_>) {
    for place in PLACES {
        for (label, name) in NAMES {
            s.case(format!("{place}::{label}"), move |c| hostile_name(c, place, name));
        }
    }
    for (label, one, other) in APART {
        s.case(format!("apart::{label}"), move |c| apart(c, one, other));
    }
    s.case("integers_and_their_text_are_one_entity", |c| async move {
        c.write(&EntityKey::new("id", 7)?, [("f", 1)], at(0)).await?;
        same(c.features(&EntityKey::new("id", "7")?).await?, ints([("f", 1)]))
    });
    s.case("the_order_of_join_keys_does_not_matter", |c| async move {
        let one = EntityKey::builder().with("b", 2).with("a", 1).build()?;
        let other = EntityKey::builder().with("a", 1).with("b", 2).build()?;
        c.write(&one, [("f", 1)], at(0)).await?;
        same(c.features(&other).await?, ints([("f", 1)]))
    });
    s.case("one_entity_in_two_views_has_two_records", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        same(c.store.read_features(&c.tenant, "other_view", &e, None).await?, None)
    });
    s.case("one_entity_of_two_tenants_has_two_records", |c| async move {
        let e = entity("e")?;
        let other = c.as_tenant(format!("{}-2", c.tenant));
        c.write(&e, [("f", 1)], at(0)).await?;
        same(other.features(&e).await?, None)?;
        other.write(&e, [("f", 2)], at(0)).await?;
        same(c.features(&e).await?, ints([("f", 1)]))
    });
    s.case("an_empty_tenant_is_refused_everywhere", |c| async move { refused_names(&c, "", VIEW).await });
    s.case("an_empty_view_is_refused_everywhere", |c| async move { refused_names(&c, &c.tenant, "").await });
}

/// Two entities beside each other under a hostile name: written, read, listed, deleted.
async fn hostile_name(c: Context, place: &str, name: &str) -> Outcome {
    let tenant = if place == "tenant" { format!("{}{name}", c.tenant) } else { c.tenant.clone() };
    let view = if place == "view" { name } else { VIEW };
    let key = |value: &str| match place {
        "join_key" => EntityKey::new(name, value),
        "entity_value" => EntityKey::new("id", format!("{name}{value}")),
        _ => EntityKey::new("id", value),
    };
    let (one, two) = (key("")?, key("2")?);
    for (key, value) in [(&one, 1), (&two, 2)] {
        c.store.write_features(&tenant, view, key, [("f", value)], Some(at(0)), None).await?;
    }
    let rows = c.store.batch_read(&tenant, view, &[two.clone(), one.clone()], None).await?;
    let values: Vec<_> = rows
        .into_iter()
        .map(|row| Ok(row?.and_then(|row| row.get("f")?.as_i64())))
        .collect::<feature_core::Result<_>>()?;
    same(values, vec![Some(2), Some(1)])?;

    let scope = Scope::view(&tenant, view)?;
    let listed = crate::case::finite(c.store.scan(&scope)).await?;
    let mut listed =
        listed.into_iter().map(|row| row.map(|(key, _)| key)).collect::<feature_core::Result<Vec<_>>>()?;
    listed.sort_by_key(ToString::to_string);
    let names: Vec<_> =
        listed.iter().map(|key| (key.view().tenant(), key.view().view(), key.entity())).collect();
    let mut expected = vec![(&*tenant, view, &one), (&*tenant, view, &two)];
    expected.sort_by_key(|(_, _, entity)| entity.to_string());
    same(names, expected)?;

    same(c.store.delete(&tenant, view, std::slice::from_ref(&one)).await?.remove(0)?, true)?;
    same(c.store.read_features(&tenant, view, &one, None).await?.is_some(), false)?;
    same(c.store.read_features(&tenant, view, &two, None).await?.is_some(), true)?;
    c.store.purge(&scope).await?;
    same(c.store.read_features(&tenant, view, &two, None).await?.is_some(), false)
}

/// Both are written, each is read as itself, and when one goes the other stays.
async fn apart(c: Context, one: Identity, other: Identity) -> Outcome {
    let mut both = Vec::new();
    for (tenant, view, pairs) in [one, other] {
        let key =
            pairs.iter().fold(EntityKey::builder(), |key, (name, value)| key.with(name, *value)).build()?;
        both.push((format!("{}{tenant}", c.tenant), view, key));
    }
    for (value, (tenant, view, key)) in (1..).zip(&both) {
        c.store.write_features(tenant, view, key, [("f", value)], Some(at(0)), None).await?;
    }
    for (value, (tenant, view, key)) in (1..).zip(&both) {
        let row = c.store.read_features(tenant, view, key, None).await?;
        same(row.and_then(|row| row.get("f")?.as_i64()), Some(value))?;
    }
    let [(tenant, view, key), (other_tenant, other_view, other_key)] = &both[..] else {
        return Err(failure("two identities"));
    };
    c.store.delete(tenant, view, std::slice::from_ref(key)).await?.remove(0)?;
    same(c.store.read_features(tenant, view, key, None).await?, None)?;
    let row = c.store.read_features(other_tenant, other_view, other_key, None).await?;
    same(row.and_then(|row| row.get("f")?.as_i64()), Some(2))?;
    for (tenant, view, _) in &both {
        c.store.purge(&Scope::view(tenant, view)?).await?;
    }
    Ok(())
}

async fn refused_names(c: &Context, tenant: &str, view: &str) -> Outcome {
    let e = entity("e")?;
    let invalid = ErrorKind::InvalidArgument;
    refused(c.store.write_features(tenant, view, &e, [("f", 1)], Some(at(0)), None).await, invalid)?;
    refused(c.store.read_features(tenant, view, &e, None).await, invalid)?;
    refused(c.store.delete(tenant, view, &[e]).await, invalid)?;
    refused(Scope::view(tenant, view), invalid)?;
    Ok(())
}

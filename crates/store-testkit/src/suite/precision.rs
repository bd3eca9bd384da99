//! Nothing is lost of a time, a shape, a version or a byte: stores have kept each in too small a room.

use feature_core::{Precondition, PutOutcome, RecordHeader, RecordPut, Result, Timestamp, VersionedRecord};

use crate::case::{Context, Outcome, Subject, at, call, entity, failure, holds, only, same};

use Precondition::{NotNewer, NotNewerSameShape, Unchanged};

const SECOND: i64 = 1_000_000;

/// Where rooms for times end, in microseconds since 1970.
const ENDS: [(&str, i64); 9] = [
    ("the_earliest", i64::MIN + 1),
    ("1677_in_nanoseconds", -9_223_372_036_854_775),
    ("1684_in_a_double", -(1 << 53)),
    ("1901_in_seconds", (i32::MIN as i64) * SECOND),
    ("1970", 0),
    ("2038_in_seconds", (1 << 31) * SECOND),
    ("2106_in_seconds", (1 << 32) * SECOND),
    ("2255_in_a_double", 1 << 53),
    ("2262_in_nanoseconds", 9_223_372_036_854_775),
];

/// Shapes that are the same as a double, in 32 bits, without their sign, or cut at the end of a string.
const SHAPES: [(&str, u64, u64); 8] = [
    ("as_a_double", 1 << 63, (1 << 63) + 1),
    ("as_a_signed_double", 1 << 60, (1 << 60) + 1),
    ("in_the_low_32_bits", 7, (1 << 32) + 7),
    ("in_the_high_32_bits", 7 << 32, (7 << 32) + 1),
    ("without_a_sign", 5, (1 << 63) + 5),
    ("at_the_largest_signed", i64::MAX as u64, u64::MAX),
    ("at_a_zero_byte", 0x0100_0000_0000_0000, 0x0100_0000_0000_0001),
    ("in_sixteen_bits", 0x1_0000, 0x2_0000),
];

pub(super) fn add(s: &mut Subject<'_>) {
    for (label, end) in ENDS {
        s.case(format!("times::around_{label}"), move |c| around(c, end));
    }
    s.case("times::of_all_ages_keep_their_order", |c| async move {
        let mut times: Vec<i64> = ENDS.iter().flat_map(|(_, end)| [end - 1, *end, end + 1]).collect();
        times.extend([i64::MIN, i64::MAX - 1, i64::MAX]);
        times.sort_unstable();
        times.dedup();
        for (older, newer) in times.iter().zip(&times[1..]) {
            order(&c, *older, *newer).await?;
        }
        order(&c, i64::MIN, i64::MAX).await
    });
    for (label, one, other) in SHAPES {
        s.case(format!("shapes::that_are_equal_{label}"), move |c| shapes(c, one, other));
    }
    s.case("versions::that_differ_in_one_bit", |c| async move { one_bit(&c).await });
    s.case("bytes::of_every_ending_come_back", |c| async move {
        let endings: Vec<Vec<u8>> = (0..=255).map(|byte| vec![b'x', byte, byte]).collect();
        come_back(&c, endings).await
    });
    s.case("bytes::that_look_like_text_come_back", |c| async move {
        let texts = [
            "",
            " ",
            "null",
            "\"quoted\"",
            "{\"a\":1}",
            "a\r\nb\n",
            "1e3",
            "0x1f",
            "%20",
            "\u{feff}e\u{301}",
        ];
        let texts = texts.iter().map(|text| text.as_bytes().to_vec());
        come_back(&c, texts.chain([vec![0xff, 0xfe, 0xc3, 0x28], vec![0; 100]]).collect()).await
    });
    s.case("bytes::of_lengths_around_powers_of_two_come_back", |c| async move {
        let limit = c.store.capabilities().max_record_bytes.unwrap_or(512 * 1024);
        let powers = (6..20).map(|exponent| 1usize << exponent);
        let lengths =
            powers.flat_map(|power| [power - 1, power, power + 1]).filter(|length| *length <= limit);
        let mut random = fastrand::Rng::with_seed(7);
        let tail = |length: usize| {
            let mut bytes = vec![0; length - RecordHeader::LEN];
            random.fill(&mut bytes);
            bytes
        };
        come_back(&c, lengths.map(tail).collect()).await
    });
    s.case("refusals::carry_the_record_as_it_is", |c| async move {
        let e = entity("e")?;
        let put = async |second, when| {
            only(c.backend().put(vec![c.put_of(&e, "f", second, at(second), when)?], call()).await)
        };
        for second in 5..9 {
            put(second, NotNewer).await?;
            let PutOutcome::Refused(carried) = put(second - 1, NotNewer).await? else {
                return Err(failure("an older record was stored"));
            };
            if let Some(carried) = carried {
                same(Some(carried), c.stored(&e).await?)?;
            }
        }
        Ok(())
    });
}

/// An end of a room and its neighbours, a microsecond, a second and a day on either side.
async fn around(c: Context, end: i64) -> Outcome {
    order(&c, end.saturating_sub(1), end).await?;
    order(&c, end, end + 1).await?;
    for step in [SECOND, 86_400 * SECOND] {
        order(&c, end.saturating_sub(step), end.saturating_add(step)).await?;
    }
    Ok(())
}

/// A put of each time on a record of the other: the newer is stored, the older and only the older refused.
async fn order(c: &Context, older: i64, newer: i64) -> Outcome {
    for when in [NotNewer, NotNewerSameShape] {
        for (stored, incoming, stays) in [(older, newer, false), (newer, older, true), (newer, newer, false)]
        {
            let e = entity(format!("{stored}-{incoming}"))?;
            let put = |micros| c.put_of(&e, "f", micros, Timestamp::from_micros(micros), when.clone());
            only(c.backend().delete(&[c.key(&e)?], call()).await)?;
            same(only(c.backend().put(vec![put(stored)?], call()).await)?, PutOutcome::Stored)?;
            let outcome = only(c.backend().put(vec![put(incoming)?], call()).await)?;
            let text = format!("{when:?}: a record of {incoming} µs on one of {stored} µs: {outcome:?}");
            holds(matches!(outcome, PutOutcome::Refused(_)) == stays, &text)?;
        }
    }
    Ok(())
}

/// A put with this shape, in the header too, as no features would give it.
fn of_shape(c: &Context, shape: u64, second: i64) -> Result<RecordPut> {
    let put = c.put_of(&entity("e")?, "f", second, at(second), NotNewerSameShape)?;
    let mut bytes = put.bytes.to_vec();
    bytes[SHAPE].copy_from_slice(&shape.to_be_bytes());
    Ok(RecordPut { bytes: bytes.into(), shape, ..put })
}

/// Where a header has the shape.
const SHAPE: std::ops::Range<usize> = 20..28;

async fn shapes(c: Context, one: u64, other: u64) -> Outcome {
    for (stored, incoming) in [(one, other), (other, one)] {
        only(c.backend().delete(&[c.key(&entity("e")?)?], call()).await)?;
        same(RecordHeader::parse(&of_shape(&c, stored, 0)?.bytes)?.shape, stored)?;
        same(only(c.backend().put(vec![of_shape(&c, stored, 0)?], call()).await)?, PutOutcome::Stored)?;
        let outcome = only(c.backend().put(vec![of_shape(&c, incoming, 1)?], call()).await)?;
        let text = format!("a record of shape {incoming:#x} replaced one of shape {stored:#x}");
        holds(matches!(outcome, PutOutcome::Refused(_)), &text)?;
        same(only(c.backend().put(vec![of_shape(&c, stored, 1)?], call()).await)?, PutOutcome::Stored)?;
    }
    Ok(())
}

/// A record that differs from the stored one by a bit of its version or, where there is none, of its bytes, is
/// another record.
async fn one_bit(c: &Context) -> Outcome {
    let e = entity("e")?;
    let put = |value: i64, when| c.put_of(&e, "f", value, at(value), when);
    only(c.backend().put(vec![put(1, NotNewer)?], call()).await)?;
    let stored = c.stored(&e).await?.ok_or_else(|| failure("there is no record"))?;
    let others: Vec<(String, VersionedRecord)> = match stored.version {
        0 => (0..stored.bytes.len() * 8)
            .map(|bit| {
                let mut bytes = stored.bytes.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                (format!("bit {bit} of the record"), VersionedRecord { bytes: bytes.into(), version: 0 })
            })
            .collect(),
        version => (0..64)
            .map(|bit| {
                (
                    format!("bit {bit} of the version"),
                    VersionedRecord { version: version ^ (1 << bit), ..stored.clone() },
                )
            })
            .collect(),
    };
    for (difference, other) in others {
        let outcome = only(c.backend().put(vec![put(2, Unchanged(Some(other)))?], call()).await)?;
        holds(matches!(outcome, PutOutcome::Refused(_)), &format!("{difference} makes no difference"))?;
    }
    same(only(c.backend().put(vec![put(2, Unchanged(Some(stored)))?], call()).await)?, PutOutcome::Stored)
}

/// Records that are a header and these bytes are given as they were put.
async fn come_back(c: &Context, tails: Vec<Vec<u8>>) -> Outcome {
    for (number, tail) in tails.into_iter().enumerate() {
        let put = c.put_of(&entity(number)?, "f", 1, at(0), NotNewer)?;
        let bytes = [&put.bytes[..RecordHeader::LEN], &tail].concat();
        let (key, bytes) = (put.key.clone(), bytes::Bytes::from(bytes));
        only(c.backend().put(vec![RecordPut { bytes: bytes.clone(), ..put }], call()).await)?;
        let found = only(c.backend().get(&[key], call()).await)?.map(|record| record.bytes);
        let text = format!(
            "{} bytes that end in {:?} came back changed",
            bytes.len(),
            tail.iter().rev().take(3).rev().collect::<Vec<_>>()
        );
        holds(found == Some(bytes), &text)?;
    }
    Ok(())
}

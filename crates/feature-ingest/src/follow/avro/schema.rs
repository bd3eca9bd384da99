//! A schema, and its values as JSON.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{DecimalSchema, Name, NamespaceRef};
use apache_avro::types::Value as Datum;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use feature_core::{FeatureValue, Timestamp};
use serde_json::Value;

/// The most that lists and texts of a message may take: a few bytes can state any length.
const LONGEST: usize = 64 << 20;
/// The bytes of the largest number that a decimal may be.
const DIGITS: usize = size_of::<i128>();
const DAY: i64 = 86_400_000_000;

/// A schema, ready to read messages.
#[derive(Debug)]
pub(super) struct MessageSchema {
    schema: Schema,
    form: Arc<Form>,
}

/// What the values do not say themselves.
#[derive(Debug)]
enum Form {
    /// Nothing.
    Plain,
    /// How many digits are behind the point.
    Decimal(u32),
    Union(Vec<Arc<Form>>),
    Each(Arc<Form>),
    Record(Vec<Arc<Form>>),
}

/// The named types of a schema; `None` while one is being looked at, inside of which it cannot stand.
type Names = HashMap<String, Option<Arc<Form>>>;

impl MessageSchema {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let schema = Schema::parse_str(text).map_err(|e| format!("it is no schema of Avro: {e}"))?;
        let form = form(&schema, None, &mut Names::new())?;
        Ok(Self { schema, form })
    }

    /// What a datum says, all of which it must be.
    pub(super) fn read(&self, datum: &[u8]) -> Result<Value, String> {
        // What is set first holds for the process.
        apache_avro::util::max_allocation_bytes(LONGEST);
        let wrong = |e: apache_avro::Error| format!("it is not of its schema: {e}");
        let mut rest = datum;
        let reader = GenericDatumReader::builder(&self.schema).build().map_err(wrong)?;
        let value = reader.read_value(&mut rest).map_err(wrong)?;
        match rest.len() {
            0 => json(value, &self.form),
            left => Err(format!("it is not of its schema: {left} bytes are left over")),
        }
    }
}

fn form(schema: &Schema, namespace: NamespaceRef<'_>, names: &mut Names) -> Result<Arc<Form>, String> {
    let named = |name: &Name, names: &mut Names, form: Form| {
        let form = Arc::new(form);
        names.insert(name.fully_qualified_name(namespace).to_string(), Some(Arc::clone(&form)));
        form
    };
    Ok(match schema {
        Schema::Decimal(DecimalSchema { scale, .. }) => {
            Arc::new(Form::Decimal(u32::try_from(*scale).map_err(|_| "a decimal has too many digits")?))
        }
        Schema::Union(union) => {
            let variants = union.variants().iter().map(|variant| form(variant, namespace, names));
            Arc::new(Form::Union(variants.collect::<Result<_, _>>()?))
        }
        Schema::Array(array) => Arc::new(Form::Each(form(&array.items, namespace, names)?)),
        Schema::Map(map) => Arc::new(Form::Each(form(&map.types, namespace, names)?)),
        Schema::Record(record) => {
            let name = record.name.fully_qualified_name(namespace);
            names.insert(name.to_string(), None);
            let fields = record.fields.iter().map(|field| form(&field.schema, name.namespace(), names));
            let fields = fields.collect::<Result<_, _>>()?;
            named(&record.name, names, Form::Record(fields))
        }
        Schema::Enum(own) => named(&own.name, names, Form::Plain),
        Schema::Fixed(own) | Schema::Duration(own) => named(&own.name, names, Form::Plain),
        Schema::Ref { name } => match names.get(name.fully_qualified_name(namespace).to_string().as_str()) {
            Some(Some(form)) => Arc::clone(form),
            // A message could be as deep as it is long.
            Some(None) => return Err(format!("the type `{name}` contains itself")),
            None => Arc::new(Form::Plain),
        },
        _ => Arc::new(Form::Plain),
    })
}

/// A value as JSON: bytes are base64, instants are RFC 3339, and of a union it is what it holds.
fn json(value: Datum, form: &Form) -> Result<Value, String> {
    let instant = |micros: i64| Ok(Timestamp::from_micros(micros).to_string().into());
    let millis = |millis: i64| {
        let micros = millis.checked_mul(1_000).ok_or("an instant is out of all bounds".to_owned())?;
        instant(micros)
    };
    match (value, form) {
        (Datum::Null, _) => Ok(Value::Null),
        (Datum::Boolean(value), _) => Ok(value.into()),
        (Datum::Int(value) | Datum::TimeMillis(value), _) => Ok(value.into()),
        (Datum::Long(value) | Datum::TimeMicros(value), _) => Ok(value.into()),
        // As features are, which have a text for NaN.
        (Datum::Float(value), _) => Ok(FeatureValue::from(value).to_json()),
        (Datum::Double(value), _) => Ok(FeatureValue::from(value).to_json()),
        (Datum::String(value) | Datum::Enum(_, value), _) => Ok(value.into()),
        (Datum::Uuid(value), _) => Ok(value.to_string().into()),
        (Datum::Bytes(bytes) | Datum::Fixed(_, bytes), _) => Ok(BASE64.encode(bytes).into()),
        (Datum::Date(days), _) => instant(i64::from(days) * DAY),
        (Datum::TimestampMillis(time) | Datum::LocalTimestampMillis(time), _) => millis(time),
        (Datum::TimestampMicros(time) | Datum::LocalTimestampMicros(time), _) => instant(time),
        (Datum::TimestampNanos(time) | Datum::LocalTimestampNanos(time), _) => {
            instant(time.div_euclid(1_000))
        }
        (Datum::Decimal(value), Form::Decimal(scale)) => {
            let bytes = Vec::<u8>::try_from(&value).map_err(|e| format!("a decimal is none: {e}"))?;
            decimal(&bytes, *scale)
        }
        (Datum::Union(at, value), Form::Union(variants)) => {
            let form = variants.get(at as usize).ok_or("a union has no such type".to_owned())?;
            json(*value, form)
        }
        (Datum::Array(values), Form::Each(form)) => {
            values.into_iter().map(|value| json(value, form)).collect()
        }
        (Datum::Map(values), Form::Each(form)) => {
            values.into_iter().map(|(name, value)| Ok((name, json(value, form)?))).collect()
        }
        (Datum::Record(fields), Form::Record(forms)) => {
            let fields = fields.into_iter().zip(forms);
            fields.map(|((name, value), form)| Ok((name, json(value, form)?))).collect()
        }
        (Datum::BigDecimal(_) | Datum::Duration(_), _) => {
            Err("it has a value of the type big-decimal or duration, which no feature has".to_owned())
        }
        _ => Err("it has a value that is not of its schema".to_owned()),
    }
}

/// A decimal as the number that is nearest to it.
fn decimal(bytes: &[u8], scale: u32) -> Result<Value, String> {
    let too_long = || "a decimal has more than 38 digits".to_owned();
    let mut wide = match bytes.first() {
        Some(first) if first & 0x80 != 0 => [0xff; DIGITS],
        _ => [0; DIGITS],
    };
    let at = DIGITS.checked_sub(bytes.len()).ok_or_else(too_long)?;
    wide.get_mut(at..).ok_or_else(too_long)?.copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(wide);
    let text = match scale {
        0 => unscaled.to_string(),
        // Read as text, it is rounded once.
        scale => format!("{unscaled}e-{scale}"),
    };
    serde_json::from_str(&text).map_err(|e| format!("a decimal is no number: {e}"))
}

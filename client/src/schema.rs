//! Schemas of what the API's types hold of other crates, for the OpenAPI document of the node. Nothing of it is in a
//! client that does not ask for the feature `openapi`.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::Base64;

/// A digest, an identity or a public key.
#[derive(Clone, Copy, Debug)]
pub struct Hex32;

impl PartialSchema for Hex32 {
    fn schema() -> RefOr<Schema> {
        text("32 bytes in hexadecimal", "^[0-9a-f]{64}$").into()
    }
}

impl ToSchema for Hex32 {
    fn name() -> Cow<'static, str> {
        "Hex32".into()
    }
}

/// What execution has led to.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(as = Roots)]
#[allow(dead_code, reason = "described, not made")]
pub struct RootsSchema {
    /// Root of the state tree.
    state: Hex32,
    /// Root of the accumulator of receipts.
    receipts: Hex32,
}

impl PartialSchema for Base64 {
    fn schema() -> RefOr<Schema> {
        let pattern = "^([0-9A-Za-z+/]{4})*([0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?$";
        let object = text("Bytes in base64, padded", pattern);
        let object = object.content_encoding("base64");
        object
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Byte)))
            .into()
    }
}

impl ToSchema for Base64 {
    fn name() -> Cow<'static, str> {
        "Base64".into()
    }
}

fn text(description: &str, pattern: &str) -> ObjectBuilder {
    Object::builder()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
}

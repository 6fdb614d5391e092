//! Reads the few objects that kubectl sends as protobuf instead of JSON (`kubectl create namespace`, `… configmap`,
//! `… serviceaccount`). Field numbers are those of the Kubernetes 1.36 API; answers are always JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Map, Value, json};

use super::error::ApiError;

/// The media type of such a body.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

/// A config map; of other kinds only the metadata is read, which has the same number in all.
#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigMap {
    #[prost(btree_map = "string, string", tag = "2")]
    data: BTreeMap<String, String>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    binary_data: BTreeMap<String, Vec<u8>>,
    #[prost(bool, tag = "4")]
    immutable: bool,
}

/// The object in a protobuf body, as JSON.
///
/// # Errors
/// 415 for kinds that are not read, 400 for a broken body.
pub(super) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let broken = |why: String| ApiError::bad_request(format!("couldn't read the body as protobuf: {why}"));
    let envelope =
        body.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin with `k8s`".to_string()))?;
    let envelope = Envelope::decode(envelope).map_err(|e| broken(e.to_string()))?;
    let kind = envelope.type_meta.unwrap_or_default();
    let object = Object::decode(envelope.raw.as_slice()).map_err(|e| broken(e.to_string()))?;
    let mut json = json!({"apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": metadata(object.metadata.unwrap_or_default())});
    match kind.kind.as_str() {
        "Namespace" | "ServiceAccount" => {}
        "ConfigMap" => {
            let map = ConfigMap::decode(envelope.raw.as_slice()).map_err(|e| broken(e.to_string()))?;
            if !map.data.is_empty() {
                json["data"] = json!(map.data);
            }
            if !map.binary_data.is_empty() {
                let coded = map.binary_data.into_iter().map(|(k, v)| (k, json!(STANDARD.encode(v))));
                json["binaryData"] = Value::Object(coded.collect());
            }
            if map.immutable {
                json["immutable"] = json!(true);
            }
        }
        other => {
            return Err(ApiError::unsupported_media_type(&format!("{MEDIA_TYPE} of kind {other}")));
        }
    }
    Ok(json)
}

fn metadata(meta: ObjectMeta) -> Value {
    let mut fields = Map::new();
    for (key, text) in
        [("name", meta.name), ("generateName", meta.generate_name), ("namespace", meta.namespace)]
    {
        if !text.is_empty() {
            fields.insert(key.to_string(), json!(text));
        }
    }
    for (key, map) in [("labels", meta.labels), ("annotations", meta.annotations)] {
        if !map.is_empty() {
            fields.insert(key.to_string(), json!(map));
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_is_read_with_its_data_and_other_kinds_are_refused() {
        let envelope = |kind: &str| {
            // metadata {name: "c"}, data {"a": "b"}
            let raw = vec![0x0a, 3, 0x0a, 1, b'c', 0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
            let type_meta = Some(TypeMeta { api_version: "v1".to_string(), kind: kind.to_string() });
            [MAGIC.to_vec(), Envelope { type_meta, raw }.encode_to_vec()].concat()
        };
        let read = decode(&envelope("ConfigMap")).unwrap();
        assert_eq!(
            read,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
        );
        assert_eq!(decode(&envelope("Secret")).map_err(|e| e.code), Err(415));
        assert_eq!(decode(b"{}").map_err(|e| e.code), Err(400));
    }
}

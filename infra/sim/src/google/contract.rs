//! Holds every request to Google, and every answer of the simulator, to Google's own discovery documents.
//!
//! They describe Gmail, Calendar and user info; the consent, token and revocation endpoints are described nowhere in a
//! form a machine reads. An answer that was injected as a failure is not held to anything.

use nbhd::clock::Timestamp;
use serde_json::{Map, Value, json};

use super::faults::INJECTED;
use super::fields::Mask;
use crate::contracts::{self, CheckReport};
use crate::journal::{Entry, Journal};

const DOCUMENTS: [&str; 3] = ["gmail.v1.json", "calendar.v3.json", "oauth2.v2.json"];
/// Answered by the simulator without a document that describes them.
const UNDESCRIBED: [&str; 4] = ["/o/oauth2/v2/auth", "/token", "/revoke", "/v1/userinfo"];

/// Google's discovery documents, ready to be held against journal entries.
#[derive(Debug)]
pub struct Contract(Vec<Document>);

#[derive(Debug)]
struct Document {
    root: Value,
    methods: Vec<Value>,
}

/// A method of a document and the values of its path.
struct Call<'d> {
    document: &'d Document,
    method: &'d Value,
    path_values: Vec<(String, String)>,
}

impl Contract {
    /// The documents; `None` where they are absent and not required.
    ///
    /// # Panics
    /// When a document cannot be read, or is absent and `NBHD_REQUIRE_SHARED=1`.
    pub fn load() -> Option<Self> {
        let folder = contracts::dir()?.join("google");
        let read = |name: &&str| {
            let root = contracts::read_json(&folder.join(name));
            let mut methods = Vec::new();
            collect_methods(&root, &mut methods);
            Document { root, methods }
        };
        Some(Self(DOCUMENTS.iter().map(read).collect()))
    }

    /// Checks every exchange with Google that a document describes.
    pub fn check(&self, journal: &Journal) -> CheckReport {
        let mut entries = journal.entries_of("google");
        entries.retain(|entry| !UNDESCRIBED.contains(&entry.path_only()));
        CheckReport::from_entries(&entries, |entry| self.violations(entry))
    }

    fn violations(&self, entry: &Entry) -> Vec<String> {
        let Some(call) = self.0.iter().find_map(|document| document.call(entry)) else {
            return vec!["no document describes this method and path".to_owned()];
        };
        let mut violations = call.check_parameters(entry);
        violations.extend(call.check_request_body(entry));
        if entry.answer_headers.iter().all(|(name, _)| name != INJECTED) {
            violations.extend(call.check_answer(entry));
        }
        violations
    }
}

impl Document {
    fn call(&self, entry: &Entry) -> Option<Call<'_>> {
        let service = self.root["servicePath"].as_str().unwrap_or_default();
        self.methods.iter().find_map(|method| {
            let template = format!("/{service}{}", method["path"].as_str()?);
            let path_values = contracts::match_path(&template, entry.path_only())?;
            (method["httpMethod"] == entry.method).then_some(Call { document: self, method, path_values })
        })
    }

    /// The schema as JSON Schema; a field it does not name is refused.
    fn holds(&self, schema: &Value, value: &Value) -> Vec<String> {
        let definitions: Map<String, Value> = self.root["schemas"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(id, schema)| (id.clone(), strict(schema)))
            .collect();
        let mut root = strict(schema);
        root["definitions"] = Value::Object(definitions);
        let options = jsonschema::draft7::options().should_validate_formats(true);
        let options = options.with_format("int64", |text: &str| text.parse::<i64>().is_ok());
        let options = options.with_format("uint64", |text: &str| text.parse::<u64>().is_ok());
        contracts::find_departures(options.build(&root), value)
    }

    /// The schema a path of `fields=` leads to.
    fn at<'d>(&'d self, schema: &'d Value, path: &str) -> Option<&'d Value> {
        let mut schema = schema;
        for name in path.split('/') {
            schema = self.object(schema);
            schema = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"))?;
        }
        Some(schema)
    }

    fn object<'d>(&'d self, schema: &'d Value) -> &'d Value {
        match (schema["$ref"].as_str(), schema.get("items")) {
            (Some(name), _) => self.object(&self.root["schemas"][name]),
            (None, Some(items)) => self.object(items),
            (None, None) => schema,
        }
    }
}

impl Call<'_> {
    fn check_parameters(&self, entry: &Entry) -> Vec<String> {
        let mut violations = Vec::new();
        let query = entry.path.split_once('?').map_or("", |(_, query)| query);
        let given: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        for (name, value) in given.iter().chain(&self.path_values) {
            let known = self.method["parameters"].get(name).or_else(|| self.document.root["parameters"].get(name));
            match known {
                Some(known) => violations.extend(check_parameter(name, value, known)),
                None => violations.push(format!("`{name}` is no parameter of this method")),
            }
            let is_repeated = given.iter().filter(|(other, _)| other == name).count() > 1;
            if is_repeated && known.is_some_and(|known| known["repeated"] != true) {
                violations.push(format!("`{name}` is given twice"));
            }
            if ["access_token", "oauth_token", "key"].contains(&name.as_str()) {
                violations.push(format!("`{name}` puts a credential into the address"));
            }
        }
        violations
            .extend(given.iter().filter(|(name, _)| name == "fields").flat_map(|(_, mask)| self.check_mask(mask)));
        violations
    }

    fn check_mask(&self, mask: &str) -> Vec<String> {
        let Some(mask) = Mask::parse(mask) else { return vec!["`fields` cannot be read".to_owned()] };
        let unknown = |path: &String| self.document.at(&self.method["response"], path).is_none();
        mask.paths()
            .into_iter()
            .filter(unknown)
            .map(|path| format!("`fields` names `{path}`, which is no field"))
            .collect()
    }

    fn check_request_body(&self, entry: &Entry) -> Vec<String> {
        match (self.method.get("request"), entry.request.is_empty()) {
            (None, true) => Vec::new(),
            (None, false) => vec!["this method takes no body".to_owned()],
            (Some(schema), _) => match serde_json::from_slice(&entry.request) {
                Ok(body) => self.document.holds(schema, &body),
                Err(error) => vec![format!("the body is no JSON: {error}")],
            },
        }
    }

    fn check_answer(&self, entry: &Entry) -> Vec<String> {
        let Some(status) = entry.status else { return Vec::new() };
        let Ok(body) = serde_json::from_slice::<Value>(&entry.answer) else {
            return vec![format!("the answer ({status}) is no JSON")];
        };
        if (200..300).contains(&status) {
            return self.document.holds(&self.method["response"], &body);
        }
        // The documents leave errors out; this is the shape of <https://cloud.google.com/apis/design/errors>.
        let error = &body["error"];
        let is_error =
            error["code"] == status && error["message"].is_string() && error["errors"][0]["reason"].is_string();
        if is_error { Vec::new() } else { vec![format!("the answer ({status}) has not the shape of an error")] }
    }
}

fn collect_methods(node: &Value, methods: &mut Vec<Value>) {
    methods.extend(node["methods"].as_object().into_iter().flatten().map(|(_, method)| method.clone()));
    node["resources"].as_object().into_iter().flatten().for_each(|(_, below)| collect_methods(below, methods));
}

fn check_parameter(name: &str, value: &str, known: &Value) -> Option<String> {
    let minimum = known["minimum"].as_str().and_then(|least| least.parse::<i64>().ok()).unwrap_or(i64::MIN);
    let fits = match (known["type"].as_str(), known["format"].as_str()) {
        (Some("integer"), _) => value.parse::<i64>().is_ok_and(|number| number >= minimum),
        (Some("boolean"), _) => ["true", "false"].contains(&value),
        (_, Some("date-time")) => Timestamp::parse_rfc3339(value).is_some(),
        _ => true,
    };
    let allowed = known["enum"].as_array().is_none_or(|values| values.iter().any(|known| known == value));
    (!fits || !allowed).then(|| format!("`{name}` cannot be `{value}`"))
}

/// A discovery schema as JSON Schema in which an object has no other fields than the named ones.
fn strict(schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return json!({ "$ref": format!("#/definitions/{name}") });
    }
    let mut strict = Map::new();
    for keyword in ["type", "format", "enum", "pattern"] {
        strict.extend(schema.get(keyword).map(|value| (keyword.to_owned(), value.clone())));
    }
    if schema["type"] == "any" {
        strict.remove("type");
    }
    if let Some(items) = schema.get("items") {
        strict.insert("items".to_owned(), self::strict(items));
    }
    let rest = schema.get("additionalProperties").map(self::strict);
    if let Some(properties) = schema["properties"].as_object() {
        let properties = properties.iter().map(|(name, schema)| (name.clone(), self::strict(schema))).collect();
        strict.insert("properties".to_owned(), Value::Object(properties));
        strict.insert("additionalProperties".to_owned(), rest.unwrap_or(Value::Bool(false)));
    } else if let Some(rest) = rest {
        strict.insert("additionalProperties".to_owned(), rest);
    }
    Value::Object(strict)
}

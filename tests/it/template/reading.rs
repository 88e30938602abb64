//! `template.yaml` as its tests read it.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::time::Duration;

use serde_json::{Map, Value, json};
use serde_norway::Value as Yaml;

use crate::tidy::root;

/// The template, with `!Ref x` read as `{"Ref": x}` and `!Name x` as `{"Fn::Name": x}`.
pub(crate) struct Template(pub(crate) Value);

impl Template {
    pub(crate) fn read() -> Self {
        Self::parse(&text())
    }

    /// The template with `right` replaced by `wrong`.
    pub(super) fn with_mistake(right: &str, wrong: &str) -> Self {
        let text = text();
        assert!(text.contains(right), "`template.yaml` does not say {right}");
        Self::parse(&text.replacen(right, wrong, 1))
    }

    fn parse(text: &str) -> Self {
        Self(plain(serde_norway::from_str(text).expect("valid YAML")))
    }

    pub(crate) fn resource(&self, id: &str) -> &Value {
        let resource = &self.0["Resources"][id];
        assert!(resource.is_object(), "no resource `{id}`");
        resource
    }

    pub(super) fn of_type(&self, kind: &str) -> Vec<(&String, &Value)> {
        let resources = self.0["Resources"].as_object().expect("resources");
        resources.iter().filter(|(_, resource)| resource["Type"] == kind).collect()
    }

    /// The functions by the name of their folder: the id and the resource.
    pub(super) fn functions(&self) -> BTreeMap<String, (String, Value)> {
        let named = |(id, resource): (&String, &Value)| {
            let folder = resource["Properties"]["CodeUri"].as_str().expect("a folder");
            let name = folder.strip_prefix("functions/").expect("a folder of `functions/`");
            (name.to_owned(), (id.clone(), resource.clone()))
        };
        self.of_type("AWS::Serverless::Function").into_iter().map(named).collect()
    }

    /// The routes that lead to the function `id`: method and path.
    pub(super) fn routes(&self, id: &str) -> Vec<(String, String)> {
        let function = json!({ "Fn::GetAtt": format!("{id}.Arn") });
        let leads_here = |target: &Value| {
            let target = target["Fn::Sub"].as_str().unwrap_or_default();
            let name = target.trim_start_matches("integrations/${").trim_end_matches('}');
            self.resource(name)["Properties"]["IntegrationUri"] == function
        };
        let routes = self.of_type("AWS::ApiGatewayV2::Route").into_iter().map(|(_, route)| &route["Properties"]);
        routes
            .filter(|route| leads_here(&route["Target"]))
            .filter_map(|route| route["RouteKey"].as_str()?.split_once(' '))
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect()
    }

    /// A number, or the default of the parameter that is referred to.
    pub(super) fn number(&self, value: &Value) -> u64 {
        let default = value["Ref"].as_str().map(|name| &self.0["Parameters"][name]["Default"]);
        default.unwrap_or(value).as_u64().unwrap_or_default()
    }

    /// How long an invocation of a function may take.
    pub(super) fn timeout(&self, function: &Value) -> Duration {
        let globals = &self.0["Globals"]["Function"]["Timeout"];
        let own = &function["Properties"]["Timeout"];
        Duration::from_secs(own.as_u64().or_else(|| globals.as_u64()).expect("a timeout"))
    }

    pub(super) fn alarms(&self) -> Vec<&Value> {
        self.of_type("AWS::CloudWatch::Alarm").into_iter().map(|(_, alarm)| &alarm["Properties"]).collect()
    }
}

fn text() -> String {
    read_to_string(root().join("template.yaml")).expect("`template.yaml` at the root")
}

pub(super) fn variables(function: &Value) -> Map<String, Value> {
    function["Properties"]["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
}

pub(super) fn statements(function: &Value) -> Vec<Value> {
    list(&function["Properties"]["Policies"]).iter().flat_map(|policy| list(&policy["Statement"])).collect()
}

pub(super) fn actions(statement: &Value) -> Vec<String> {
    list(&statement["Action"]).iter().filter_map(|action| action.as_str().map(str::to_owned)).collect()
}

/// A template takes one thing where it takes a list.
pub(super) fn list(value: &Value) -> Vec<Value> {
    if value.is_null() {
        return Vec::new();
    }
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn plain(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Tagged(tagged) => {
            let name = tagged.tag.to_string();
            let name = name.trim_start_matches('!');
            let name = if name == "Ref" { name.to_owned() } else { format!("Fn::{name}") };
            Value::Object(Map::from_iter([(name, plain(tagged.value))]))
        }
        Yaml::Sequence(items) => items.into_iter().map(plain).collect(),
        Yaml::Mapping(fields) => {
            let key = |key: Yaml| key.as_str().map(str::to_owned).expect("keys are words");
            Value::Object(fields.into_iter().map(|(name, value)| (key(name), plain(value))).collect())
        }
        scalar @ (Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_)) => {
            serde_json::to_value(scalar).expect("a scalar")
        }
    }
}

//! `template.yaml` held to the code: what one has, the other has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;

use serde_json::{Map, Value, json};
use serde_norway::Value as Yaml;

use crate::tidy::{functions, root};

/// The template, with `!Ref x` read as `{"Ref": x}` and `!Name x` as `{"Fn::Name": x}`.
struct Template(Value);

#[test]
fn every_function_has_its_resource_and_every_resource_its_function() {
    let described: BTreeSet<String> = Template::read().functions().into_keys().collect();
    assert_eq!(described, functions().into_iter().collect(), "left: template.yaml, right: functions/");
}

#[test]
fn a_function_runs_on_its_own_code_built_for_arm() {
    let template = Template::read();
    let globals = &template.0["Globals"]["Function"];
    assert_eq!((&globals["Runtime"], &globals["Architectures"]), (&json!("provided.al2023"), &json!(["arm64"])));
    for (name, (_, function)) in template.functions() {
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda", "{name}");
        let seconds = function["Properties"]["Timeout"].as_u64().or_else(|| globals["Timeout"].as_u64());
        let fed_by_a_queue = function["Properties"]["Events"]["Queue"].is_object();
        assert!(fed_by_a_queue || seconds.is_some_and(|seconds| seconds < 30), "{name}: an HTTP API waits 30 s");
    }
}

#[test]
fn a_secret_is_a_parameter_that_its_function_alone_may_read() {
    for (name, (_, function)) in Template::read().functions() {
        let granted: BTreeSet<String> = statements(&function)
            .into_iter()
            .filter(|statement| actions(statement) == ["ssm:GetParameters"])
            .flat_map(|statement| list(&statement["Resource"]))
            .map(|resource| {
                resource["Fn::Sub"]
                    .as_str()
                    .and_then(|arn| arn.split(":parameter").nth(1))
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        let used: BTreeSet<String> = variables(&function)
            .into_iter()
            .filter_map(|(_, value)| Some(value["Fn::Sub"].as_str()?.strip_prefix("ssm:")?.to_owned()))
            .collect();
        assert_eq!(granted, used, "{name}: left: what its policy lets it read, right: what its variables name");
        for (variable, value) in variables(&function) {
            let secret = ["SECRET", "TOKEN", "KEY"].iter().any(|word| variable.ends_with(word));
            let parameter = value["Fn::Sub"].as_str().is_some_and(|value| value.starts_with("ssm:"));
            assert_eq!(secret, parameter, "{name}: `{variable}`: secrets, and only they, are parameters");
        }
    }
}

#[test]
fn no_policy_is_wider_than_one_resource() {
    for (name, (_, function)) in Template::read().functions() {
        for statement in statements(&function) {
            let open = |value: &Value| value.as_str().is_some_and(|text| text.contains('*'));
            let resources = list(&statement["Resource"]);
            assert!(!resources.is_empty() && !resources.iter().any(open), "{name}: {statement}");
            assert!(!actions(&statement).iter().any(|action| action.contains('*')), "{name}: {statement}");
        }
    }
}

#[test]
fn a_queue_hands_out_one_message_and_takes_back_what_failed() {
    let template = Template::read();
    let mut fed = BTreeMap::new();
    for (name, (_, function)) in template.functions() {
        let source = &function["Properties"]["Events"]["Queue"];
        if source.is_null() {
            continue;
        }
        let mapping = &source["Properties"];
        assert_eq!((&source["Type"], &mapping["BatchSize"]), (&json!("SQS"), &json!(1)), "{name}");
        assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{name}");
        assert!(mapping["ScalingConfig"]["MaximumConcurrency"].is_u64(), "{name}");
        let queue = mapping["Queue"]["Fn::GetAtt"].as_str().unwrap_or_default().trim_end_matches(".Arn").to_owned();
        let timeout = function["Properties"]["Timeout"].as_u64().unwrap_or_default();
        let visibility = template.resource(&queue)["Properties"]["VisibilityTimeout"].as_u64();
        assert_eq!(visibility, Some(6 * timeout), "{name}: visibility is six times the function's timeout");
        fed.insert(name, queue);
    }
    let expected = [("scheduled-refresh", "RefreshQueue"), ("telegram-forward", "InboundQueue")];
    assert_eq!(fed, expected.map(|(name, queue)| (name.to_owned(), queue.to_owned())).into());
}

#[test]
fn the_inbound_queue_keeps_order_per_chat_and_outlasts_the_functions_own_rule() {
    let template = Template::read();
    for name in ["InboundQueue", "InboundDeadLetters"] {
        let queue = &template.resource(name)["Properties"];
        assert_eq!(queue["FifoQueue"], true, "{name}");
        assert_eq!(queue["DeduplicationScope"], "messageGroup", "{name}");
        assert_eq!(queue["FifoThroughputLimit"], "perMessageGroupId", "{name}");
    }
    let inbound = &template.resource("InboundQueue")["Properties"];
    assert_eq!(inbound["RedrivePolicy"]["maxReceiveCount"], 200);
    assert_eq!(inbound["RedrivePolicy"]["deadLetterTargetArn"], json!({ "Fn::GetAtt": "InboundDeadLetters.Arn" }));
}

#[test]
fn every_queue_is_encrypted_and_has_an_alarm_on_what_ends_up_dead() {
    let template = Template::read();
    let queues = template.of_type("AWS::SQS::Queue");
    assert_eq!(queues.len(), 4);
    for (name, queue) in queues {
        let queue = &queue["Properties"];
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
        if queue["RedrivePolicy"].is_null() {
            assert_eq!(queue["MessageRetentionPeriod"], 14 * 24 * 60 * 60, "{name}");
            let watched = json!([{ "Name": "QueueName", "Value": { "Fn::GetAtt": format!("{name}.QueueName") } }]);
            assert!(template.alarms().iter().any(|alarm| alarm["Dimensions"] == watched), "no alarm on {name}");
        }
    }
}

#[test]
fn the_table_is_the_one_the_simulator_has() {
    let template = Template::read();
    let table = &template.resource("Table")["Properties"];
    let simulated = nbhd_sim::table::definition();
    for part in ["BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"] {
        assert_eq!(table[part], simulated[part], "{part}");
    }
    assert_eq!(table["TimeToLiveSpecification"], json!({ "AttributeName": "ttl", "Enabled": true }));
    assert_eq!(table["PointInTimeRecoverySpecification"], json!({ "PointInTimeRecoveryEnabled": true }));
    assert_eq!(table["SSESpecification"], json!({ "SSEEnabled": true }));
}

#[test]
fn the_access_log_shows_no_path_query_or_address() {
    const SHOWN: [&str; 7] = [
        "requestId",
        "routeKey",
        "status",
        "responseLatency",
        "integrationLatency",
        "integrationStatus",
        "responseLength",
    ];
    let template = Template::read();
    let stage = &template.resource("ApiStage")["Properties"];
    let format = stage["AccessLogSettings"]["Format"].as_str().expect("a format");
    let named = |piece: &str| {
        piece.split(|letter: char| !letter.is_alphanumeric() && letter != '.').next().unwrap_or_default().to_owned()
    };
    let variables: Vec<String> = format.split("$context.").skip(1).map(named).collect();
    assert!(variables.len() > 3 && variables.iter().all(|name| SHOWN.contains(&name.as_str())), "{variables:?}");
    assert!(stage["DefaultRouteSettings"].is_null() && stage["RouteSettings"].is_null(), "a throttle slows the bot");
    let webhook = template.resource("TelegramWebhook");
    assert!(!webhook["Properties"]["ReservedConcurrentExecutions"].is_null(), "the webhook's own concurrency");
}

#[test]
fn an_alarm_watches_every_function_and_somebody_hears_it() {
    let template = Template::read();
    let alarms = template.alarms();
    assert!(alarms.iter().all(|alarm| alarm["AlarmActions"] == json!([{ "Ref": "AlarmTopicArn" }])));
    for (name, (id, _)) in template.functions() {
        let watched = json!([{ "Name": "FunctionName", "Value": { "Ref": id } }]);
        let watches = |alarm: &&Value| alarm["MetricName"] == "Errors" && alarm["Dimensions"] == watched;
        assert!(alarms.iter().any(watches), "no alarm on the errors of {name}");
    }
}

impl Template {
    fn read() -> Self {
        let text = read_to_string(root().join("template.yaml")).expect("`template.yaml` at the root");
        Self(plain(serde_norway::from_str(&text).expect("valid YAML")))
    }

    fn resource(&self, id: &str) -> &Value {
        let resource = &self.0["Resources"][id];
        assert!(resource.is_object(), "no resource `{id}`");
        resource
    }

    fn of_type(&self, kind: &str) -> Vec<(&String, &Value)> {
        let resources = self.0["Resources"].as_object().expect("resources");
        resources.iter().filter(|(_, resource)| resource["Type"] == kind).collect()
    }

    /// The functions by the name of their folder: the id and the resource.
    fn functions(&self) -> BTreeMap<String, (String, Value)> {
        let named = |(id, resource): (&String, &Value)| {
            let folder = resource["Properties"]["CodeUri"].as_str().expect("a folder");
            let name = folder.strip_prefix("functions/").expect("a folder of `functions/`");
            (name.to_owned(), (id.clone(), resource.clone()))
        };
        self.of_type("AWS::Serverless::Function").into_iter().map(named).collect()
    }

    fn alarms(&self) -> Vec<&Value> {
        self.of_type("AWS::CloudWatch::Alarm").into_iter().map(|(_, alarm)| &alarm["Properties"]).collect()
    }
}

fn variables(function: &Value) -> Map<String, Value> {
    function["Properties"]["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
}

fn statements(function: &Value) -> Vec<Value> {
    list(&function["Properties"]["Policies"]).iter().flat_map(|policy| list(&policy["Statement"])).collect()
}

fn actions(statement: &Value) -> Vec<String> {
    list(&statement["Action"]).iter().filter_map(|action| action.as_str().map(str::to_owned)).collect()
}

/// A template takes one thing where it takes a list.
fn list(value: &Value) -> Vec<Value> {
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

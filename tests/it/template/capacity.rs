//! Who may take how much, and what is kept: throttles, concurrency, permissions, deletion.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::literals_after;
use super::reading::{Template, list};

/// An account's concurrent executions, unless they were raised.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const ACCOUNT: u64 = 1_000;
/// What is left to the functions that runtimes call: one runtime's 200 calls, and more than that for the others.
const SHARED: u64 = 500;
/// They share what is not reserved.
pub(crate) const CALLED_BY_RUNTIMES: [&str; 3] = ["runtime-calendar", "runtime-gmail", "telegram-relay"];

const TELEGRAM: &str = "POST /telegram/webhook";

pub(super) fn a_queue_hands_out_one_message_and_takes_back_what_failed(template: &Template) {
    let functions = template.functions();
    let mut fed = BTreeMap::new();
    for (id, mapping) in template.of_type("AWS::Lambda::EventSourceMapping") {
        let mapping = &mapping["Properties"];
        assert_eq!(mapping["BatchSize"], 1, "{id}");
        assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{id}");
        let most = template.number(&mapping["ScalingConfig"]["MaximumConcurrency"]);
        let (name, (_, function)) =
            functions.iter().find(|(_, (id, _))| mapping["FunctionName"]["Ref"] == id.as_str()).expect("a function");
        let reserved = template.number(&function["Properties"]["ReservedConcurrentExecutions"]);
        assert!(most <= reserved, "{id}: SQS would hand out messages that nobody may take");
        let queue = attribute_owner(&mapping["EventSourceArn"]);
        let timeout = function["Properties"]["Timeout"].as_u64().unwrap_or_default();
        let visibility = template.resource(&queue)["Properties"]["VisibilityTimeout"].as_u64();
        assert!(visibility >= Some(2 * timeout), "{name}: a message must not be redelivered while it is handled");
        fed.insert(name.as_str(), queue);
    }
    let expected = [
        ("scheduled-refresh", "RefreshQueue"),
        ("telegram-forward", "InboundQueue"),
        ("tenant-reconcile", "LifecycleQueue"),
    ];
    assert_eq!(fed, expected.map(|(name, queue)| (name, queue.to_owned())).into());
    let by_sam = functions.values().any(|(_, function)| function["Properties"]["Events"].to_string().contains("SQS"));
    assert!(!by_sam, "SAM gives such a function every queue of the account");
}

pub(super) fn every_route_but_telegrams_has_a_throttle(template: &Template) {
    let stage = &template.resource("ApiStage")["Properties"];
    assert!(stage["DefaultRouteSettings"].is_null(), "it would hold for Telegram's webhook too");
    let settings = stage["RouteSettings"].as_object().expect("settings of routes");
    let throttled: BTreeSet<&str> = settings.keys().map(String::as_str).collect();
    let mut routes: BTreeSet<&str> = template
        .of_type("AWS::ApiGatewayV2::Route")
        .into_iter()
        .filter_map(|(_, route)| route["Properties"]["RouteKey"].as_str())
        .collect();
    assert!(routes.remove(TELEGRAM), "a 429 to Telegram slows the bot for everyone");
    assert_eq!(throttled, routes);
    for (route, limits) in settings {
        let rate = |name: &str| limits[name].as_u64().unwrap_or_default();
        assert!(rate("ThrottlingRateLimit") > 0 && rate("ThrottlingBurstLimit") > 0, "{route}");
    }
}

pub(super) fn every_function_has_its_share_of_the_concurrency(template: &Template) {
    for (name, (_, function)) in template.functions() {
        let reserved = template.number(&function["Properties"]["ReservedConcurrentExecutions"]);
        let shares = CALLED_BY_RUNTIMES.contains(&name.as_str());
        assert_eq!(reserved > 0, !shares, "{name} may take everything, or be left with nothing");
    }
    assert!(unreserved_concurrency(template) >= SHARED, "{}", unreserved_concurrency(template));
}

/// How many executions at once the functions without a reservation have together.
pub(crate) fn unreserved_concurrency(template: &Template) -> u64 {
    let reserved =
        |(_, function): &(String, Value)| template.number(&function["Properties"]["ReservedConcurrentExecutions"]);
    ACCOUNT.saturating_sub(template.functions().values().map(reserved).sum())
}

pub(super) fn the_api_calls_a_function_by_its_own_routes_alone(template: &Template) {
    const API: &str = "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/";
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, permission) in template.of_type("AWS::Lambda::Permission") {
        let permission = &permission["Properties"];
        let source = permission["SourceArn"]["Fn::Sub"].as_str().and_then(|source| source.strip_prefix(API));
        let function = permission["FunctionName"]["Ref"].as_str().expect("a function").to_owned();
        allowed.entry(function).or_default().insert(source.unwrap_or_else(|| panic!("{id}: no route")).to_owned());
    }
    let mut needed = BTreeMap::new();
    for (id, _) in template.functions().into_values() {
        let routes = template.routes(&id).into_iter().map(|(method, path)| {
            let method = if method == "ANY" { "*".to_owned() } else { method };
            let parts = path.split('/').map(|part| if part.starts_with('{') { "*" } else { part });
            format!("{method}{}", parts.collect::<Vec<_>>().join("/"))
        });
        let routes: BTreeSet<String> = routes.collect();
        if !routes.is_empty() {
            needed.insert(id, routes);
        }
    }
    assert_eq!(allowed, needed);
}

pub(super) fn what_holds_rows_or_words_outlives_the_stack(template: &Template) {
    assert_eq!(template.resource("Table")["Properties"]["DeletionProtectionEnabled"], true);
    for name in ["Table", "InboundQueue", "InboundDeadLetters"] {
        let resource = template.resource(name);
        let kept = (&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]);
        assert_eq!(kept, (&json!("Retain"), &json!("Retain")), "{name}");
    }
}

pub(super) fn nobody_speaks_to_a_queue_without_tls(template: &Template) {
    let policies = template.of_type("AWS::SQS::QueuePolicy");
    for (queue, _) in template.of_type("AWS::SQS::Queue") {
        let policy = policies.iter().find(|(_, policy)| policy["Properties"]["Queues"] == json!([{ "Ref": queue }]));
        let statement = &policy.expect("a policy").1["Properties"]["PolicyDocument"]["Statement"][0];
        let expected = json!({
            "Effect": "Deny", "Principal": "*", "Action": "sqs:*",
            "Resource": { "Fn::GetAtt": format!("{queue}.Arn") },
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        });
        assert_eq!(*statement, expected, "{queue}");
    }
}

pub(super) fn throttles_and_times_of_every_function_are_watched(template: &Template) {
    for (name, (id, function)) in template.functions() {
        let timeout = template.timeout(&function).as_millis();
        let watched = json!([{ "Name": "FunctionName", "Value": { "Ref": id } }]);
        for metric in ["Throttles", "Duration"] {
            let (member, expression) = members(template)
                .into_iter()
                .find(|(member, _)| {
                    let stated = &member["MetricStat"]["Metric"];
                    stated["MetricName"] == metric && stated["Dimensions"] == watched
                })
                .unwrap_or_else(|| panic!("nobody watches the {metric} of {name}"));
            let share = format!("{} / {timeout}", member["Id"].as_str().unwrap_or_default());
            let shares: Vec<&str> =
                expression.trim_start_matches("MAX([").trim_end_matches("])").split(',').map(str::trim).collect();
            assert!(metric == "Throttles" || shares.contains(&share.as_str()), "{share} is not in {expression}");
        }
    }
}

/// Every metric of an alarm on several, with the alarm's expression.
fn members(template: &Template) -> Vec<(Value, String)> {
    let mut members = Vec::new();
    for alarm in template.alarms() {
        let parts = list(&alarm["Metrics"]);
        let expression = parts.iter().find_map(|part| part["Expression"].as_str()).unwrap_or_default().to_owned();
        members.extend(parts.into_iter().map(|part| (part, expression.clone())));
    }
    members
}

/// `X` of `!GetAtt X.Arn`.
fn attribute_owner(value: &Value) -> String {
    value["Fn::GetAtt"].as_str().unwrap_or_default().trim_end_matches(".Arn").to_owned()
}

/// A schedule that stops leaves no error: only what is missing shows it, in the function's own count or, where nothing
/// else calls it, in its invocations.
pub(super) fn every_schedule_is_missed_when_it_stops(template: &Template) {
    let (mut scheduled, alarms) = (0, template.alarms());
    for (name, (id, function)) in template.functions() {
        let events = function["Properties"]["Events"].as_object().cloned().unwrap_or_default();
        if !events.values().any(|event| event["Type"] == "ScheduleV2") {
            continue;
        }
        scheduled += 1;
        let counts = literals_after(&format!("functions/{name}"), "metric(\"");
        let is_alone = !template
            .of_type("AWS::Lambda::EventSourceMapping")
            .iter()
            .any(|(_, mapping)| mapping["Properties"]["FunctionName"].to_string().contains(&format!("\"{id}")));
        let dimensions = json!([{ "Name": "FunctionName", "Value": { "Ref": id } }]);
        let watches = |alarm: &&Value| {
            let metric = alarm["MetricName"].as_str().unwrap_or_default();
            let is_own = alarm["Namespace"] == "NBHD" && counts.contains(metric);
            let is_call = is_alone && metric == "Invocations" && alarm["Dimensions"] == dimensions;
            alarm["TreatMissingData"] == "breaching" && (is_own || is_call)
        };
        assert!(alarms.iter().any(watches), "nobody hears that the clock no longer calls {name}");
    }
    assert_eq!(scheduled, 2);
}

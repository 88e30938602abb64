//! `template.yaml` held to the code: what one has, the other has.

pub(crate) mod capacity;
mod operations;
pub(crate) mod reading;
mod starting;
mod tenants;
mod watching;

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nbhd::domain::time_limits::INVOCATION_LIMIT;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::tidy::{functions, root, sources};
use capacity::{
    a_queue_hands_out_one_message_and_takes_back_what_failed, every_function_has_its_share_of_the_concurrency,
    every_route_but_telegrams_has_a_throttle, every_schedule_is_missed_when_it_stops,
    nobody_speaks_to_a_queue_without_tls, the_api_calls_a_function_by_its_own_routes_alone,
    throttles_and_times_of_every_function_are_watched, what_holds_rows_or_words_outlives_the_stack,
};
use reading::{Template, actions, list, statements, variables};
use starting::{has_a_default, router, settings, start};
use tenants::{backups_last_as_long_as_receipts_say, no_tenant_alone_rings_an_alarm_on_deliveries};

/// Checks of the template, each with a mistake that it must see: what the template says => what it would say instead.
macro_rules! checks {
    ($($check:ident: $right:literal => $wrong:literal;)+) => {
        mod holds {
            $(#[test]
            fn $check() {
                super::$check(&super::Template::read());
            })+
        }
        mod sees_a_mistake {
            $(#[test]
            fn $check() {
                let template = super::Template::with_mistake($right, $wrong);
                assert!(std::panic::catch_unwind(|| super::$check(&template)).is_err(), "not seen: {}", $wrong);
            })+
        }
    };
}

checks! {
    every_function_has_its_resource_and_every_resource_its_function:
        "CodeUri: functions/oauth-callback" => "CodeUri: functions/oauth-result";
    a_function_runs_on_its_own_code_built_for_arm:
        "BuildMethod: rust-cargolambda" => "BuildMethod: makefile";
    a_secret_is_a_parameter_that_its_function_alone_may_read:
        "TELEGRAM_BOT_TOKEN: !Sub ssm:${SsmPrefix}/telegram-bot-token" => "TELEGRAM_BOT_TOKEN: !Ref SsmPrefix";
    no_policy_is_wider_than_one_resource:
        "Resource: !GetAtt Table.Arn" => "Resource: \"*\"";
    only_functions_that_open_a_vault_get_web_identity_tokens:
        "[api://AzureADTokenExchange]" => "[sts.amazonaws.com]";
    a_queue_hands_out_one_message_and_takes_back_what_failed:
        "BatchSize: 1" => "BatchSize: 10";
    every_route_but_telegrams_has_a_throttle:
        "        GET /billing/done:" => "        GET /billing/gone:";
    every_function_has_its_share_of_the_concurrency:
        "    Default: 200" => "    Default: 600";
    the_api_calls_a_function_by_its_own_routes_alone:
        "/*/POST/stripe/webhook" => "/*";
    what_holds_rows_or_words_outlives_the_stack:
        "DeletionProtectionEnabled: true" => "DeletionProtectionEnabled: false";
    nobody_speaks_to_a_queue_without_tls:
        "aws:SecureTransport: \"false\"" => "aws:SecureTransport: \"true\"";
    throttles_and_times_of_every_function_are_watched:
        "runtimeGmail / 29000" => "runtimeGmail / 90000";
    the_inbound_queue_keeps_order_per_chat_and_outlasts_the_functions_own_rule:
        "maxReceiveCount: 200" => "maxReceiveCount: 3";
    every_queue_is_encrypted_and_has_an_alarm_on_what_ends_up_dead:
        "!GetAtt InboundDeadLetters.QueueName" => "!GetAtt InboundQueue.QueueName";
    the_table_is_the_one_the_simulator_has:
        "AttributeName: due_at, KeyType: RANGE" => "AttributeName: sk, KeyType: RANGE";
    the_access_log_shows_no_path_query_or_address:
        "$context.routeKey" => "$context.path";
    an_alarm_watches_every_function_and_somebody_hears_it:
        "Value: !Ref OauthCallback" => "Value: !Ref OauthAuthorize";
    every_count_in_the_code_has_an_alarm_or_a_reason_to_have_none:
        "MetricName: RowsCorrupt" => "MetricName: RowsBroken";
    no_lease_ends_before_the_invocation_that_took_it:
        "Timeout: 170" => "Timeout: 200";
    every_schedule_is_missed_when_it_stops:
        "MetricName: Invocations" => "MetricName: Duration";
    the_clock_ticks_and_somebody_hears_when_it_does_not:
        "rate(5 minutes)" => "rate(5 hours)";
    every_route_is_served_and_every_path_served_has_a_route:
        "POST /oauth/{provider}/undo" => "POST /oauth/{provider}/redo";
    backups_last_as_long_as_receipts_say:
        "RecoveryPeriodInDays: 35" => "RecoveryPeriodInDays: 34";
    no_tenant_alone_rings_an_alarm_on_deliveries:
        "TenantsRefusingSecret\n      Statistic: Sum" => "TenantsRefusingSecret\n      Statistic: SampleCount";
    a_function_has_the_variables_that_it_reads_and_no_others:
        "TELEGRAM_BOT_USERNAME:" => "TELEGRAM_BOT_NAME:";
}

fn every_function_has_its_resource_and_every_resource_its_function(template: &Template) {
    let described: BTreeSet<String> = template.functions().into_keys().collect();
    assert_eq!(described, functions().into_iter().collect(), "left: template.yaml, right: functions/");
}

fn a_function_runs_on_its_own_code_built_for_arm(template: &Template) {
    let globals = &template.0["Globals"]["Function"];
    assert_eq!((&globals["Runtime"], &globals["Architectures"]), (&json!("provided.al2023"), &json!(["arm64"])));
    for (name, (id, function)) in template.functions() {
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda", "{name}");
        let seconds = function["Properties"]["Timeout"].as_u64().or_else(|| globals["Timeout"].as_u64());
        let has_no_route = template.routes(&id).is_empty();
        assert!(has_no_route || seconds.is_some_and(|seconds| seconds < 30), "{name}: an HTTP API waits 30 s");
    }
}

fn a_secret_is_a_parameter_that_its_function_alone_may_read(template: &Template) {
    for (name, (_, function)) in template.functions() {
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
            let kinds = ["SECRET", "SECRETS", "TOKEN", "KEY", "KEYS"];
            let secret = kinds.iter().any(|word| variable.ends_with(word));
            let parameter = value["Fn::Sub"].as_str().is_some_and(|value| value.starts_with("ssm:"));
            assert_eq!(secret, parameter, "{name}: `{variable}`: secrets, and only they, are parameters");
        }
    }
}

fn no_policy_is_wider_than_one_resource(template: &Template) {
    for (name, (_, function)) in template.functions() {
        for statement in statements(&function) {
            let open = |value: &Value| value.as_str().is_some_and(|text| text.contains('*'));
            let resources = list(&statement["Resource"]);
            assert!(!resources.is_empty() && !resources.iter().any(open), "{name}: {statement}");
            assert!(!actions(&statement).iter().any(|action| action.contains('*')), "{name}: {statement}");
        }
    }
}

fn only_functions_that_open_a_vault_get_web_identity_tokens(template: &Template) {
    let sign_in = template.resource("AzureSignIn")["Properties"]["PolicyDocument"]["Statement"].clone();
    let expected = json!([{
        "Effect": "Allow",
        "Action": "sts:GetWebIdentityToken",
        "Resource": "*",
        "Condition": {
            "ForAllValues:StringEquals": { "sts:IdentityTokenAudience": ["api://AzureADTokenExchange"] },
            "Null": { "sts:IdentityTokenAudience": "false" },
            "StringEquals": { "sts:SigningAlgorithm": "RS256" },
            "NumericLessThanEquals": { "sts:DurationSeconds": 300 },
        },
    }]);
    assert_eq!(sign_in, expected);
    assert_eq!(template.of_type("AWS::IAM::ManagedPolicy").len(), 1);
    for (name, (_, function)) in template.functions() {
        let has = list(&function["Properties"]["Policies"]).contains(&json!({ "Ref": "AzureSignIn" }));
        assert_eq!(has, variables(&function).contains_key("AZURE_CLIENT_ID"), "{name}");
    }
}

fn the_inbound_queue_keeps_order_per_chat_and_outlasts_the_functions_own_rule(template: &Template) {
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

fn every_queue_is_encrypted_and_has_an_alarm_on_what_ends_up_dead(template: &Template) {
    let queues = template.of_type("AWS::SQS::Queue");
    assert_eq!(queues.len(), 6);
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

fn the_table_is_the_one_the_simulator_has(template: &Template) {
    let table = &template.resource("Table")["Properties"];
    let simulated = nbhd_sim::table::definition();
    for part in ["BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"] {
        assert_eq!(table[part], simulated[part], "{part}");
    }
    assert_eq!(table["TimeToLiveSpecification"], json!({ "AttributeName": "ttl", "Enabled": true }));
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["SSESpecification"], json!({ "SSEEnabled": true }));
}

fn the_access_log_shows_no_path_query_or_address(template: &Template) {
    const SHOWN: [&str; 7] = [
        "requestId",
        "routeKey",
        "status",
        "responseLatency",
        "integrationLatency",
        "integrationStatus",
        "responseLength",
    ];
    let stage = &template.resource("ApiStage")["Properties"];
    let format = stage["AccessLogSettings"]["Format"].as_str().expect("a format");
    let named = |piece: &str| {
        piece.split(|letter: char| !letter.is_alphanumeric() && letter != '.').next().unwrap_or_default().to_owned()
    };
    let variables: Vec<String> = format.split("$context.").skip(1).map(named).collect();
    assert!(variables.len() > 3 && variables.iter().all(|name| SHOWN.contains(&name.as_str())), "{variables:?}");
}

fn an_alarm_watches_every_function_and_somebody_hears_it(template: &Template) {
    let alarms = template.alarms();
    assert!(alarms.iter().all(|alarm| alarm["AlarmActions"] == json!([{ "Ref": "AlarmTopicArn" }])));
    for (name, (id, _)) in template.functions() {
        let watched = json!([{ "Name": "FunctionName", "Value": { "Ref": id } }]);
        let watches = |alarm: &&Value| alarm["MetricName"] == "Errors" && alarm["Dimensions"] == watched;
        assert!(alarms.iter().any(watches), "no alarm on the errors of {name}");
    }
}

fn every_count_in_the_code_has_an_alarm_or_a_reason_to_have_none(template: &Template) {
    /// Counts of what goes well, of what a person brought about, or of what is tried again.
    const NO_ALARM: [&str; 14] = [
        "IntegrationsConnected",
        "IntegrationsDue",
        "IntegrationsRemoved",
        "LateEffectsRemoved",
        "LeasesHeld",
        "OrphansRemoved",
        "RefreshesDeferred",
        "StepsFailed",
        "StrangersNotAnswered",
        "TenantsRemoved",
        "TokensRefreshed",
        "UpdatesDeadLettered",
        "UpdatesDelivered",
        "UpdatesLimited",
    ];
    let alarms = template.alarms().into_iter().filter(|alarm| alarm["Namespace"] == "NBHD");
    let watched: BTreeSet<String> =
        alarms.map(|alarm| alarm["MetricName"].as_str().unwrap_or_default().to_owned()).collect();
    let mut counted = literals_after("shared", "metric(\"");
    functions().iter().for_each(|name| counted.extend(literals_after(&format!("functions/{name}"), "metric(\"")));
    assert!(NO_ALARM.iter().all(|name| counted.remove(*name)), "`NO_ALARM` names a count that is in no code");
    assert_eq!(watched, counted, "left: alarms of template.yaml, right: counts in the code");
}

fn no_lease_ends_before_the_invocation_that_took_it(template: &Template) {
    let timeout = |name: &str| template.timeout(&template.functions()[name].1);
    assert_eq!(timeout("tenant-reconcile"), INVOCATION_LIMIT, "its lease is as long as that and more");
    for name in ["scheduled-refresh", "oauth-callback"] {
        assert!(timeout(name) <= nbhd::flows::lease::LEASE, "{name} may write under a lease that has ended");
    }
    let visibility = &template.resource("LifecycleQueue")["Properties"]["VisibilityTimeout"];
    assert_eq!(visibility, 360, "ARCHITECTURE.md says so");
}

fn the_clock_ticks_and_somebody_hears_when_it_does_not(template: &Template) {
    let (_, refresh) = &template.functions()["scheduled-refresh"];
    let tick = &refresh["Properties"]["Events"]["Tick"];
    assert_eq!(
        (&tick["Type"], &tick["Properties"]["ScheduleExpression"]),
        (&json!("ScheduleV2"), &json!("rate(5 minutes)"))
    );
    let alarms = template.alarms();
    let overdue = alarms.iter().find(|alarm| alarm["MetricName"] == "OldestOverdueSeconds").expect("an alarm");
    assert_eq!((&overdue["Statistic"], &overdue["TreatMissingData"]), (&json!("Maximum"), &json!("breaching")));
    let share = template.resource("RefreshFailureShareAlarm");
    let parts = list(&share["Properties"]["Metrics"]);
    let names: BTreeSet<&str> =
        parts.iter().filter_map(|part| part["MetricStat"]["Metric"]["MetricName"].as_str()).collect();
    assert_eq!(names, ["TokenRefreshesFailed", "TokensRefreshed"].into());
}

fn every_route_is_served_and_every_path_served_has_a_route(template: &Template) {
    for (name, (id, function)) in template.functions() {
        let routes = template.routes(&id);
        let Some(router) = router(&name, &settings(&function)) else {
            assert!(routes.is_empty(), "{name} is fed by a queue");
            continue;
        };
        assert!(!routes.is_empty(), "{name} has no route");
        for (method, path) in &routes {
            let method = if method == "ANY" { "POST" } else { method };
            let request = Request::builder().method(method).uri(example(path)).body(Body::empty()).expect("valid");
            assert!(is_served(router.clone(), request), "{name} does not serve {method} {path}");
        }
        for served in literals_after(&format!("functions/{name}"), ".route(\"") {
            let covered = routes.iter().any(|(_, path)| covers(path, &served));
            assert!(covered, "{name} serves {served}, which has no route");
        }
    }
}

fn a_function_has_the_variables_that_it_reads_and_no_others(template: &Template) {
    for (name, (_, function)) in template.functions() {
        let env = settings(&function).record_reads();
        start(&name, &env);
        let has: BTreeSet<String> = variables(&function).into_iter().map(|(variable, _)| variable).collect();
        let reads: BTreeSet<String> = env.names_read().into_iter().filter(|asked| !has_a_default(asked)).collect();
        assert_eq!(has, reads, "{name}: left: template.yaml, right: what the function reads");
    }
}

/// axum's own answer to what no handler serves is 405, or 404 without a body.
#[tokio::main(flavor = "current_thread")]
async fn is_served(router: Router, request: Request<Body>) -> bool {
    let answer = router.oneshot(request).await.expect("infallible");
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("readable");
    status != 405 && !(status == 404 && body.is_empty())
}

/// A path of the template's form with its parts filled in.
fn example(path: &str) -> String {
    let tenant = "11111111-1111-1111-1111-111111111111";
    let rest = match path.split('/').rev().nth(1) {
        Some("gmail") => "messages/",
        Some("google-calendar") => "events/",
        _ => "bot1:capability/getMe",
    };
    path.replace("{tenant_id}", tenant).replace("{provider}", "gmail").replace("{proxy+}", rest)
}

/// Whether API Gateway's route `path` leads to axum's `served`.
fn covers(path: &str, served: &str) -> bool {
    let (path, served): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), served.split('/').collect());
    let greedy = path.last() == Some(&"{proxy+}");
    let fixed = if greedy { path.len() - 1 } else { path.len() };
    let same = |(ours, theirs): (&&str, &&str)| ours == theirs || (ours.starts_with('{') && theirs.starts_with('{'));
    let long_enough = if greedy { served.len() >= path.len() } else { served.len() == path.len() };
    long_enough && path[..fixed].iter().zip(&served).all(same)
}

/// The string literals that follow `start` in the sources of a crate.
fn literals_after(folder: &str, start: &str) -> BTreeSet<String> {
    let in_file = |text: &str| -> Vec<String> {
        text.split(start).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect()
    };
    sources(&root().join(folder).join("src")).iter().flat_map(|source| in_file(&source.text)).collect()
}

//! List prices in US dollars, of us-east-1 and of Azure's public cloud in the East US, without free tiers, discounts or
//! taxes. Looked up on 2026-11-30, each on the vendor's page that stands beside it or in guides of 2026 that quote it.

/// A million requests of a function. <https://aws.amazon.com/lambda/pricing/>
pub(crate) const LAMBDA_REQUESTS: f64 = 0.20;
/// A GB-second of a function on arm64. <https://aws.amazon.com/lambda/pricing/>
pub(crate) const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;
/// A million requests of a standard queue. <https://aws.amazon.com/sqs/pricing/>
pub(crate) const SQS_REQUESTS: f64 = 0.40;
/// A million requests of a FIFO queue. <https://aws.amazon.com/sqs/pricing/>
pub(crate) const SQS_FIFO_REQUESTS: f64 = 0.50;
/// A million write units on demand. <https://aws.amazon.com/dynamodb/pricing/on-demand/>
pub(crate) const TABLE_WRITES: f64 = 0.625;
/// A million read units on demand. <https://aws.amazon.com/dynamodb/pricing/on-demand/>
pub(crate) const TABLE_READS: f64 = 0.125;
/// A million requests of an HTTP API. <https://aws.amazon.com/api-gateway/pricing/>
pub(crate) const API_REQUESTS: f64 = 1.00;
/// A GB of log lines. <https://aws.amazon.com/cloudwatch/pricing/>
pub(crate) const LOGS_GB: f64 = 0.50;
/// A metric that an alarm watches, a month. <https://aws.amazon.com/cloudwatch/pricing/>
pub(crate) const ALARM_METRIC: f64 = 0.10;
/// A metric of our own, a month. <https://aws.amazon.com/cloudwatch/pricing/>
pub(crate) const OWN_METRIC: f64 = 0.30;
/// A GB to the internet. <https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>
pub(crate) const OUT_GB: f64 = 0.09;
/// Ten thousand operations on secrets. <https://azure.microsoft.com/pricing/details/key-vault/>
pub(crate) const VAULT_OPERATIONS: f64 = 0.03;

/// Prices that were not found: 0 in every sum. Each is the fleet's and not a tenant's, or below a cent a year for one.
pub(crate) const UNKNOWN: [&str; 3] =
    ["the scheduler's invocations (52,000 a month in all)", "the table's storage and backups", "storage of logs"];

/// What nothing here measures and a region decides: how long one call of a vendor takes, in milliseconds, by the
/// simulator's name. Parameters of the sum, on the cautious side, since a function is billed while it waits.
pub(crate) const CALL_MS: [(&str, f64); 10] = [
    ("table", 6.0),
    ("sqs", 12.0),
    ("telegram", 100.0),
    ("google", 150.0),
    ("arm", 400.0),
    ("key-vault", 60.0),
    ("entra", 150.0),
    ("sts", 30.0),
    ("model-gateway", 300.0),
    ("stripe", 300.0),
];
/// How many items a page of a list has: Azure's (its documents do not say: a parameter, on the cautious side), a
/// vault's <https://learn.microsoft.com/rest/api/keyvault/secrets/get-secrets/get-secrets>, and the gateway's
/// <https://openrouter.ai/docs/api/api-reference/api-keys/list>.
pub(crate) const PAGE: [f64; 3] = [20.0, 25.0, 100.0];
/// What Lambda itself logs of an invocation (start, end, report), and API Gateway of a request, in bytes: a parameter.
pub(crate) const PLATFORM_LOG_BYTES: f64 = 350.0;

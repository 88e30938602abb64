//! `nbhd forget-customer`: takes a customer who is gone at Stripe off its tenant.

use anyhow::{Context as _, bail, ensure};
use nbhd::domain::due::{Due, Kind};
use nbhd::domain::tenant::{Tenant, TenantRecord, Tombstone};
use nbhd::providers::stripe::Client;
use nbhd::store;

use crate::tenant::{ATTEMPTS, send_reconcile_job};
use crate::{Operator, Output};

pub(crate) async fn forget(operator: &Operator, customer: &str, is_forced: bool) -> anyhow::Result<Output> {
    ensure!(customer.starts_with("cus_"), "`{customer}` is no customer's id; Stripe's begin with `cus_`");
    let id = operator.store.find_tenant(customer).await?;
    let id = id.with_context(|| format!("no tenant has the customer `{customer}`; `nbhd tenants` lists them"))?;
    let stripe = Client::from_env(&operator.env, nbhd::http::client(&operator.env)?)?;
    let had_trial = match (&stripe, is_forced) {
        (Some(stripe), false) => require_gone(stripe, customer).await?,
        (Some(stripe), true) => stripe.has_taken_trial(customer).await.unwrap_or(false),
        (None, true) => false,
        (None, false) => bail!(
            "without STRIPE_SECRET_KEY, STRIPE_PRICE_BASIC and STRIPE_PRICE_PLUS Stripe cannot be asked whether the \
             customer is gone; set them, or use --force"
        ),
    };
    for _ in 0..ATTEMPTS {
        let now = operator.clock.now();
        let record = operator.store.tenant_record(id).await?.with_context(|| format!("there is no tenant `{id}`"))?;
        if record.customer() != Some(customer) {
            operator.store.forget_customer(record, &[customer]).await?;
            return Ok(Output::from_text(format!("`{id}` has another customer by now; `{customer}` is forgotten")));
        }
        let mut stripe_ids = vec![customer.to_owned()];
        let (forgotten, is_live) = match record {
            TenantRecord::Live(tenant) => {
                stripe_ids.extend(tenant.subscription.as_ref().map(|known| known.id.clone()));
                // If the job is lost, the sweep finds the row by this time.
                let due = Some(Due::new(Kind::Reconcile, id, now));
                let tenant = tenant.without_customer(now);
                let trial_spent = tenant.trial_spent || had_trial;
                (TenantRecord::Live(Box::new(Tenant { trial_spent, due, ..tenant })), true)
            }
            TenantRecord::Deleted(tombstone) => {
                let trial_spent = tombstone.trial_spent || had_trial;
                let tombstone = Tombstone { customer: None, ask_stripe_at: None, trial_spent, ..*tombstone };
                (TenantRecord::Deleted(Box::new(tombstone)), false)
            }
        };
        let stripe_ids: Vec<&str> = stripe_ids.iter().map(String::as_str).collect();
        match operator.store.forget_customer(forgotten, &stripe_ids).await {
            Ok(()) if is_live => {
                send_reconcile_job(operator, id).await?;
                let what = "what it paid for has ended, and its person can subscribe again";
                return Ok(Output::from_text(format!("`{id}` no longer has the customer `{customer}`: {what}")));
            }
            Ok(()) => return Ok(Output::from_text(format!("the removed `{id}` no longer has `{customer}`"))),
            Err(store::Error::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the row of `{id}` changed {ATTEMPTS} times while it was written; try again")
}

/// Stripe has to say that the customer was deleted, or is none of the account that sells our prices; whether they had a
/// trial, as far as it says that too.
async fn require_gone(stripe: &Client, customer: &str) -> anyhow::Result<bool> {
    let unsure = "Stripe did not say whether the customer is gone; try again, or use --force";
    let is_gone = stripe.is_customer_deleted(customer).await.context(unsure)?;
    ensure!(is_gone, "Stripe still knows `{customer}`; delete it in Stripe's dashboard first, or use --force");
    stripe.has_taken_trial(customer).await.context(unsure)
}

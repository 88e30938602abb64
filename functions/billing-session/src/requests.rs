//! What is asked of Stripe.
//!
//! The requests are typed by `async-stripe`; our own client carries them and reads the answers, because the parser of
//! `async-stripe` refuses an answer in which one field of another version is missing.

use std::collections::HashMap;

use nbhd::domain::ids::{ChatId, TenantId};
use nbhd::domain::subscription::Tier;
use nbhd::providers::stripe::TIER;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionConsentCollection,
    CreateCheckoutSessionConsentCollectionTermsOfService as Terms, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionSubscriptionData,
};
use stripe_client_core::StripeRequest;
use stripe_core::customer::CreateCustomer;

/// A `POST` as Stripe takes it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Below `/v1`.
    pub(crate) path: String,
    /// The parameters.
    pub(crate) form: String,
}

/// A customer of whom Stripe learns nothing from us but which tenant it is.
pub(crate) fn customer(tenant: TenantId) -> Request {
    built(&CreateCustomer::new().metadata(HashMap::from([("tenant_id".to_owned(), tenant.to_string())])))
}

/// A Checkout session for one subscription; it carries what brings a removed tenant back.
/// <https://docs.stripe.com/api/checkout/sessions/create>
pub(crate) fn checkout(customer: &str, price: &str, tier: Tier, tenant: TenantId, chat: ChatId, base: &str) -> Request {
    let ours = HashMap::from([("tenant_id".to_owned(), tenant.to_string()), ("chat_id".to_owned(), chat.to_string())]);
    let item = CreateCheckoutSessionLineItems {
        price: Some(price.to_owned()),
        quantity: Some(1),
        ..CreateCheckoutSessionLineItems::new()
    };
    let consent = CreateCheckoutSessionConsentCollection {
        terms_of_service: Some(Terms::Required),
        ..CreateCheckoutSessionConsentCollection::new()
    };
    let subscription =
        CreateCheckoutSessionSubscriptionData { metadata: Some(ours), ..CreateCheckoutSessionSubscriptionData::new() };
    let session = CreateCheckoutSession::new()
        .mode(stripe_checkout::CheckoutSessionMode::Subscription)
        .customer(customer)
        .client_reference_id(tenant.to_string())
        .line_items(vec![item])
        .consent_collection(consent)
        .metadata(HashMap::from([(TIER.to_owned(), tier.to_string())]))
        .subscription_data(subscription)
        .success_url(format!("{base}/billing/done?from=checkout"))
        .cancel_url(format!("{base}/billing/done?from=cancel"));
    built(&session)
}

/// A session of the customer portal. <https://docs.stripe.com/api/customer_portal/sessions/create>
pub(crate) fn portal(customer: &str, base: &str) -> Request {
    let back = format!("{base}/billing/done?from=portal");
    built(&CreateBillingPortalSession::new().customer(customer).return_url(back))
}

fn built(request: &impl StripeRequest) -> Request {
    let built = request.build();
    Request { path: built.path, form: built.body.unwrap_or_default() }
}

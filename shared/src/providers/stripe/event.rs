//! The fields of an event that we use: they name the customer to fetch. An event's content is never applied.

use serde_json::Value;

use crate::domain::ids::TenantId;

/// What an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A customer's subscription may have changed: fetch it.
    Billing,
    /// A charge is disputed: an operator has to answer.
    Dispute,
    /// No action: any type of event not named above.
    Other,
}

/// An event whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stripe's id, `evt_…`; the same in every redelivery.
    pub id: String,
    /// What it asks for, by its type.
    pub kind: EventKind,
    /// The customer it is about, `cus_…`.
    pub customer: Option<String>,
    /// The tenant in its object's metadata: `billing-session` wrote it there.
    pub tenant_id: Option<TenantId>,
}

impl EventKind {
    /// <https://docs.stripe.com/api/events/types>
    fn from_type(text: &str) -> Self {
        match text {
            "checkout.session.completed"
            | "checkout.session.expired"
            | "customer.subscription.created"
            | "customer.subscription.updated"
            | "customer.subscription.deleted"
            | "customer.subscription.paused"
            | "customer.subscription.resumed"
            | "customer.deleted"
            | "invoice.paid"
            | "invoice.payment_failed" => Self::Billing,
            "charge.dispute.created" => Self::Dispute,
            _ => Self::Other,
        }
    }
}

impl Event {
    /// Reads a body whose signature was verified; `None` when it is no event.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(body).ok()?;
        let object = &event["data"]["object"];
        let customer = if object["object"] == "customer" { object } else { &object["customer"] };
        let tenant = [
            &object["metadata"]["tenant_id"],
            &object["client_reference_id"],
            &object["parent"]["subscription_details"]["metadata"]["tenant_id"],
        ];
        Some(Self {
            id: event["id"].as_str()?.to_owned(),
            kind: EventKind::from_type(event["type"].as_str()?),
            customer: customer.as_str().or_else(|| customer["id"].as_str()).map(str::to_owned),
            tenant_id: tenant.into_iter().find_map(|text| text.as_str()?.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(kind: &str, object: Value) -> Option<Event> {
        Event::parse(json!({ "id": "evt_1", "type": kind, "data": { "object": object } }).to_string().as_bytes())
    }

    #[test]
    fn a_tenant_is_found_wherever_stripe_repeats_what_we_wrote() {
        let tenant = TenantId::random();
        let named = json!({ "tenant_id": tenant });
        for object in [
            json!({ "customer": "cus_1", "metadata": named }),
            json!({ "customer": { "id": "cus_1" }, "client_reference_id": tenant, "metadata": {} }),
            json!({ "customer": "cus_1", "parent": { "subscription_details": { "metadata": named } } }),
        ] {
            let event = parse("invoice.paid", object).expect("an event");
            assert_eq!((event.kind, event.tenant_id), (EventKind::Billing, Some(tenant)));
            assert_eq!(event.customer.as_deref(), Some("cus_1"));
        }
    }

    #[test]
    fn an_event_about_the_customer_itself_names_it_by_its_id() {
        let tenant = TenantId::random();
        let object = json!({ "object": "customer", "id": "cus_1", "metadata": { "tenant_id": tenant } });
        let event = parse("customer.deleted", object).expect("an event");
        assert_eq!((event.kind, event.customer.as_deref()), (EventKind::Billing, Some("cus_1")));
        assert_eq!(event.tenant_id, Some(tenant));
    }

    #[test]
    fn what_is_missing_or_of_another_form_is_no_error() {
        for object in [json!(null), json!([]), json!({ "customer": 7, "metadata": [], "client_reference_id": "me" })] {
            let event = parse("a.type.of.tomorrow", object).expect("an event");
            assert_eq!((event.kind, event.customer, event.tenant_id), (EventKind::Other, None, None));
        }
        assert_eq!(Event::parse(b"[]"), None);
        assert_eq!(Event::parse(br#"{"id":"evt_1"}"#), None);
        assert_eq!(Event::parse(b"no JSON"), None);
    }
}

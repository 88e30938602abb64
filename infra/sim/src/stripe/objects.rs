//! Stripe's objects, as the API version [`super::API_VERSION`] writes them.

use nbhd::clock::Timestamp;
use serde_json::{Value, json};

use super::state::{Card, InvoiceStatus, Portal, Price, SessionStatus, State};

pub(super) fn customer(state: &State, id: &str) -> Value {
    let Some(customer) = state.customers.get(id) else { return Value::Null };
    let delinquent = state
        .invoices
        .values()
        .any(|invoice| invoice.customer == id && invoice.status == InvoiceStatus::Open && invoice.attempts > 0);
    let method = (customer.card != Card::None).then_some("pm_1Sim");
    let object = json!({
        "id": customer.id, "object": "customer", "balance": 0,
        "created": customer.created.seconds(), "currency": "usd", "delinquent": delinquent,
        "invoice_prefix": "SIM00001",
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": method, "footer": null, "rendering_options": null,
        },
        "livemode": false, "metadata": customer.metadata, "next_invoice_sequence": 1, "preferred_locales": [],
        "tax_exempt": "none",
    });
    with_nulls(object, "address default_source description discount email name phone shipping test_clock")
}

/// What is left of a deleted customer. <https://docs.stripe.com/api/customers/retrieve>
pub(super) fn deleted_customer(id: &str) -> Value {
    json!({ "id": id, "object": "customer", "deleted": true })
}

pub(super) fn price(price: &Price) -> Value {
    let object = json!({
        "id": price.id, "object": "price", "active": true, "billing_scheme": "per_unit", "created": 1_700_000_000,
        "currency": "usd", "livemode": false, "metadata": {},
        "nickname": price.name, "product": product_id(price),
        "recurring": { "interval": "month", "interval_count": 1, "meter": null, "usage_type": "licensed" },
        "tax_behavior": "unspecified", "type": "recurring",
        "unit_amount": price.amount, "unit_amount_decimal": price.amount.to_string(),
    });
    with_nulls(object, "custom_unit_amount lookup_key tiers_mode transform_quantity")
}

pub(super) fn subscription(state: &State, id: &str) -> Value {
    let Some(known) = state.subscriptions.get(id) else { return Value::Null };
    let Some(plan) = state.price(&known.price) else { return Value::Null };
    let (start, end) = (known.period.0.seconds(), known.period.1.seconds());
    let item = |id: String, of: &Price| {
        json!({
            "id": id, "object": "subscription_item", "billing_thresholds": null,
            "created": known.created.seconds(), "current_period_end": end, "current_period_start": start,
            "discounts": [],
            "metadata": {}, "plan": old_plan(of), "price": price(of), "quantity": 1, "subscription": known.id,
            "tax_rates": [],
        })
    };
    let add_on = |(place, id): (usize, &String)| {
        let sold = state.price(id).cloned();
        let sold = sold.unwrap_or_else(|| Price { id: id.clone(), name: "Add-on", amount: 300 });
        item(format!("{}_{place}", known.item), &sold)
    };
    let (before, after) = &known.other_items;
    let own = std::iter::once(item(known.item.clone(), plan));
    let items: Vec<Value> = before.iter().enumerate().map(add_on).chain(own).collect();
    let items: Vec<Value> = items.into_iter().chain((before.len()..).zip(after).map(add_on)).collect();
    let object = json!({
        "id": known.id, "object": "subscription", "automatic_tax": { "disabled_reason": null, "enabled": false,
        "liability": null },
        "billing_cycle_anchor": known.period.0.seconds(),
        "billing_mode": { "flexible": { "proration_discounts": "included" }, "type": "flexible" },
        "billing_schedules": [],
        "cancel_at": seconds(known.cancel_at).or_else(|| known.cancel_at_period_end.then_some(end)),
        "cancel_at_period_end": known.cancel_at_period_end,
        "canceled_at": seconds(known.canceled_at),
        "cancellation_details": { "comment": null, "feedback": null, "reason": reason(known.canceled_at) },
        "collection_method": "charge_automatically", "created": known.created.seconds(), "currency": "usd",
        "customer": known.customer, "default_tax_rates": [], "discounts": [],
        "ended_at": seconds(known.ended_at),
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "items": list(items, false, &format!("/v1/subscription_items?subscription={}", known.id)),
        "latest_invoice": known.latest_invoice, "livemode": false, "metadata": known.metadata,
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": null,
            "save_default_payment_method": "on_subscription",
        },
        "start_date": known.created.seconds(), "status": known.status, "trial_end": seconds(known.trial_end),
        "trial_settings": { "end_behavior": { "missing_payment_method": "pause" } },
        "trial_start": seconds(known.trial_end.map(|_| known.created)),
    });
    with_nulls(
        object,
        "application application_fee_percent billing_cycle_anchor_config billing_thresholds \
         customer_account days_until_due default_payment_method default_source description \
         next_pending_invoice_item_invoice on_behalf_of pause_collection \
         pending_invoice_item_interval pending_setup_intent pending_update schedule test_clock \
         transfer_data",
    )
}

pub(super) fn invoice(state: &State, id: &str) -> Value {
    let Some(known) = state.invoices.get(id) else { return Value::Null };
    let (status, paid, voided) = match known.status {
        InvoiceStatus::Draft => ("draft", 0, None),
        InvoiceStatus::Uncollectible => ("uncollectible", 0, None),
        InvoiceStatus::Open => ("open", 0, None),
        InvoiceStatus::Paid => ("paid", known.amount, None),
        InvoiceStatus::Void => ("void", 0, Some(known.period.1)),
    };
    let metadata = state.subscriptions.get(&known.subscription).map(|of| &of.metadata);
    let mut object = json!({
        "id": known.id, "object": "invoice", "account_country": "US", "account_name": "NBHD United",
        "attempt_count": known.attempts, "attempted": known.attempts > 0, "auto_advance": status == "open",
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        },
        "billing_reason": known.reason,
        "collection_method": "charge_automatically", "created": known.created.seconds(), "currency": "usd",
        "customer": known.customer, "customer_tax_exempt": "none",
        "customer_tax_ids": [], "default_tax_rates": [],
        "discounts": [], "effective_at": known.created.seconds(),
        "ending_balance": 0, "hosted_invoice_url": format!("{}/i/{}", state.base_url, known.id),
        "issuer": { "type": "self" },
        "lines": list(Vec::new(), false, &format!("/v1/invoices/{}/lines", known.id)), "livemode": false,
        "metadata": {}, "next_payment_attempt": seconds(known.next_attempt), "number": format!("SIM-{}", known.id),
        "parent": {
            "quote_details": null,
            "subscription_details": { "metadata": metadata, "subscription": known.subscription },
            "type": "subscription_details",
        },
        "payment_settings": { "default_mandate": null, "payment_method_options": null,
        "payment_method_types": null },
    });
    let amounts = json!({
        "period_end": known.period.1.seconds(), "period_start": known.period.0.seconds(),
        "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
        "status": status,
        "status_transitions": {
            "finalized_at": (status != "draft").then_some(known.created.seconds()),
            "marked_uncollectible_at": (status == "uncollectible").then_some(known.period.1.seconds()),
            "paid_at": seconds(known.paid_at), "voided_at": seconds(voided),
        },
        "amount_due": known.amount, "amount_overpaid": 0, "amount_paid": paid,
        "amount_remaining": known.amount - paid, "amount_shipping": 0, "subtotal": known.amount,
        "subtotal_excluding_tax": known.amount, "total": known.amount,
        "total_discount_amounts": [], "total_excluding_tax": known.amount, "total_pretax_credit_amounts": [],
        "total_taxes": [],
    });
    if let (Value::Object(fields), Value::Object(amounts)) = (&mut object, amounts) {
        fields.extend(amounts);
    }
    with_nulls(
        object,
        "account_tax_ids application automatically_finalizes_at custom_fields customer_address \
         customer_email customer_name customer_phone customer_shipping default_payment_method \
         default_source description due_date footer from_invoice invoice_pdf \
         last_finalization_error latest_revision on_behalf_of receipt_number rendering \
         shipping_cost shipping_details statement_descriptor test_clock webhooks_delivered_at",
    )
}

pub(super) fn session(state: &State, id: &str) -> Value {
    let Some(known) = state.sessions.get(id) else { return Value::Null };
    let amount = state.price(&known.price).map_or(0, |price| price.amount);
    // A page with a trial, or with a promotion code for all of it, asks for no payment.
    let subscription = known.subscription.as_ref().and_then(|id| state.subscriptions.get(id));
    let is_free = subscription.is_some_and(|of| of.is_free);
    let (total, discount) = match known.trial_days {
        Some(_) => (0, 0),
        None if is_free => (0, amount),
        None => (amount, 0),
    };
    let (status, paid) = match known.status {
        SessionStatus::Open => ("open", "unpaid"),
        SessionStatus::Complete if total == 0 => ("complete", "no_payment_required"),
        SessionStatus::Complete => ("complete", "paid"),
        SessionStatus::Expired => ("expired", "unpaid"),
    };
    let latest = subscription.and_then(|of| of.latest_invoice.clone());
    let consent = known.terms.then(|| {
        let accepted = (known.status == SessionStatus::Complete).then_some("accepted");
        json!({ "promotions": null, "terms_of_service": accepted })
    });
    let asked = known.terms.then(
        || json!({ "payment_method_reuse_agreement": null, "promotions": "none", "terms_of_service": "required" }),
    );
    let object = json!({
        "id": known.id, "object": "checkout.session", "allow_promotion_codes": known.promotion_codes,
        "amount_subtotal": if known.trial_days.is_some() { 0 } else { amount }, "amount_total": total,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "cancel_url": known.cancel_url, "client_reference_id": known.reference,
        "consent": consent, "consent_collection": asked,
        "created": known.created.seconds(), "currency": "usd", "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer": known.customer, "expires_at": known.expires_at.seconds(), "invoice": latest,
        "livemode": false, "metadata": known.metadata,
        "mode": "subscription", "payment_method_collection": "always",
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"], "payment_status": paid, "phone_number_collection": { "enabled": false },
        "shipping_options": [],
        "status": status, "subscription": known.subscription, "success_url": known.success_url,
        "total_details": { "amount_discount": discount, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted_page",
        "url": (status == "open").then(|| session_url(state, &known.id)),
    });
    with_nulls(
        object,
        "after_expiration billing_address_collection client_secret \
         customer_account customer_creation customer_details customer_email discounts \
         invoice_creation locale payment_intent payment_link payment_method_configuration_details \
         permissions recovered_from saved_payment_method_options setup_intent \
         shipping_address_collection shipping_cost submit_type",
    )
}

pub(super) fn portal(state: &State, known: &Portal) -> Value {
    let object = json!({
        "id": known.id, "object": "billing_portal.session", "configuration": "bpc_1Sim",
        "created": known.created.seconds(), "customer": known.customer, "livemode": false,
        "return_url": known.return_url,
        "url": portal_url(state, &known.id),
    });
    with_nulls(object, "customer_account flow locale on_behalf_of")
}

/// A dispute about the latest charge of a customer.
pub(super) fn dispute(id: &str, charge: &str, amount: i64, at: Timestamp) -> Value {
    json!({
        "id": id, "object": "dispute", "amount": amount, "balance_transactions": [], "charge": charge,
        "created": at.seconds(), "currency": "usd", "enhanced_eligibility_types": [], "evidence": {},
        "evidence_details": {
            "due_by": null, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": false, "livemode": false, "metadata": {}, "payment_intent": null,
        "reason": "fraudulent", "status": "needs_response",
    })
}

/// Where a Checkout session's page is.
pub(super) fn session_url(state: &State, id: &str) -> String {
    format!("{}/c/pay/{id}", state.base_url)
}

/// Where a portal session's page is.
pub(super) fn portal_url(state: &State, id: &str) -> String {
    format!("{}/p/session/{id}", state.base_url)
}

/// A list as the API pages it.
pub(super) fn list(data: Vec<Value>, has_more: bool, url: &str) -> Value {
    json!({ "object": "list", "data": data, "has_more": has_more, "url": url })
}

/// `object` with fields that hold nothing here.
fn with_nulls(mut object: Value, names: &str) -> Value {
    for name in names.split_ascii_whitespace() {
        object[name] = Value::Null;
    }
    object
}

fn old_plan(price: &Price) -> Value {
    let object = json!({
        "id": price.id, "object": "plan", "active": true, "amount": price.amount,
        "amount_decimal": price.amount.to_string(), "billing_scheme": "per_unit", "created": 1_700_000_000,
        "currency": "usd", "interval": "month", "interval_count": 1, "livemode": false, "metadata": {},
        "nickname": price.name, "product": product_id(price), "usage_type": "licensed",
    });
    with_nulls(object, "meter tiers_mode transform_usage trial_period_days")
}

fn product_id(price: &Price) -> String {
    price.id.replacen("price_", "prod_", 1)
}

fn reason(canceled_at: Option<Timestamp>) -> Option<&'static str> {
    canceled_at.map(|_| "cancellation_requested")
}

fn seconds(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::seconds)
}

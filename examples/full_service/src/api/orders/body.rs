//! The body of an order: its fields, their limits, and the total.

use utoipa::ToSchema;
use uuid::Uuid;

use super::super::{
    extract::FromObject,
    fields::Object,
    problem::{FieldError, Kind, Problem},
};
use crate::store::{Item, NewOrder};

const MOST_ITEMS: usize = 100;
const MOST_OF_AN_ITEM: i64 = 1_000;
const HIGHEST_PRICE: i64 = 1_000_000_000;
const LONGEST_SKU: usize = 64;

/// An order as clients write one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// The user who orders.
    user_id: Uuid,
    /// The currency of all prices (ISO 4217).
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: String,
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<ItemBody>,
}

/// A line of an order as clients write one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// The article.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "duck-7")]
    sku: String,
    #[schema(minimum = 1, maximum = 1000)]
    quantity: i32,
    /// The price of one, in the currency's smallest unit.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    unit_price: i64,
}

impl FromObject for OrderBody {
    fn from_object(object: &mut Object<'_>) -> Option<Self> {
        let user_id = object.id("user_id");
        let currency = object.text("currency", currency);
        let items = object.list("items", 1..=MOST_ITEMS, ItemBody::from_object);
        Some(Self {
            user_id: user_id?,
            currency: currency?,
            items: items?,
        })
    }
}

impl FromObject for ItemBody {
    fn from_object(object: &mut Object<'_>) -> Option<Self> {
        let sku = object.text("sku", sku);
        let quantity = object.integer("quantity", 1..=MOST_OF_AN_ITEM);
        let unit_price = object.integer("unit_price", 0..=HIGHEST_PRICE);
        Some(Self {
            sku: sku?,
            quantity: i32::try_from(quantity?).ok()?,
            unit_price: unit_price?,
        })
    }
}

impl OrderBody {
    /// Returns the order with its total.
    pub fn order(self) -> Result<NewOrder, Problem> {
        let mut prices = self.items.iter().map(|item| {
            let quantity = i64::from(item.quantity);
            item.unit_price.checked_mul(quantity)
        });
        let total = prices.try_fold(0_i64, |total, price| total.checked_add(price?));
        let total = total.ok_or_else(|| {
            let detail = "the sum of all prices is too large";
            let error = FieldError::in_body("/items", "overflow", detail);
            Problem::new(Kind::OVERFLOW, detail).errors([error])
        })?;
        let items = self.items.into_iter().map(|item| Item {
            sku: item.sku,
            quantity: item.quantity,
            unit_price: item.unit_price,
        });
        Ok(NewOrder {
            user_id: self.user_id,
            currency: self.currency,
            items: items.collect(),
            total,
        })
    }
}

fn currency(text: &str) -> Result<String, (&'static str, &'static str)> {
    match text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err(("not-a-currency", "must be three capital letters")),
    }
}

fn sku(text: &str) -> Result<String, (&'static str, &'static str)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match (1..=LONGEST_SKU).contains(&text.len()) && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => {
            let detail = "must be 1 to 64 letters, digits, dots, hyphens and underscores";
            Err(("invalid", detail))
        }
    }
}

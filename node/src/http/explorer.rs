//! Reads that people look around with: the newest blocks, and what became of a block's transactions.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::response::{IntoResponse as _, Response};
use quorate_client::api::{BlocksReply, ReceiptReply, ReceiptsReply};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::of_query;
use super::reads::{block_reply, height_from, height_of, not_serving};
use super::{Api, problem};
use crate::backend::{Query, Reply};

/// Entries of an answer unless told otherwise.
const DEFAULT_LIMIT: u32 = 20;
/// Most entries of an answer.
const MAX_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BlocksQuery {
    /// The highest height; without it, the newest block's.
    #[param(minimum = 0)]
    from: Option<u64>,
    /// Most blocks.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Blocks from a height downwards, the newest first.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    params(BlocksQuery),
    responses((status = 200, description = "The blocks", body = BlocksReply))
)]
pub(super) async fn blocks(
    State(api): State<Api>,
    query: Result<UrlQuery<BlocksQuery>, QueryRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are from (a height) and limit");
    };
    let Some(limit) = limited(query.limit) else {
        return problem("malformed", "limit is 1 to 100");
    };
    let from = query.from.and_then(height_from);
    if query.from.is_some() && from.is_none() {
        return problem("malformed", "from is above any height");
    }
    let encode = |answer| match answer {
        Ok(Reply::Blocks(blocks, more)) => {
            let blocks = blocks.iter().map(block_reply).collect();
            axum::Json(BlocksReply { blocks, more }).into_response()
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    };
    api.read(Query::Blocks { from, limit }, encode).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptsQuery {
    /// The first index.
    #[param(minimum = 0, maximum = 2_147_483_647, default = 0)]
    from: Option<u32>,
    /// Most receipts.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// What became of a block's transactions, in the order of execution.
///
/// An answer holds 4 MiB of them and one receipt more, at most: with `more`, ask again from the next.
#[utoipa::path(
    get,
    path = "/v1/blocks/{height}/receipts",
    params(("height" = u64, Path, description = "Position in the ledger"), ReceiptsQuery),
    responses((status = 200, description = "The receipts", body = ReceiptsReply))
)]
pub(super) async fn receipts(
    State(api): State<Api>,
    height: Result<Path<String>, PathRejection>,
    query: Result<UrlQuery<ReceiptsQuery>, QueryRejection>,
) -> Response {
    let Some(height) = height_of(height) else {
        return problem("malformed", "a height is a number");
    };
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are from (an index) and limit");
    };
    let Some(limit) = limited(query.limit) else {
        return problem("malformed", "limit is 1 to 100");
    };
    // What the document's `int32` takes.
    if query.from.is_some_and(|from| i32::try_from(from).is_err()) {
        return problem("malformed", "no index is that large");
    }
    let query = Query::Receipts {
        height,
        from: query.from.unwrap_or(0),
        limit,
    };
    let encode = |answer| match answer {
        Ok(Reply::Receipts(Some((receipts, more)))) => {
            let receipts = receipts.iter().map(ReceiptReply::from).collect();
            axum::Json(ReceiptsReply { receipts, more }).into_response()
        }
        Ok(Reply::Receipts(None)) => {
            problem("unknown_height", "no block is executed at this height yet")
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    };
    api.read(query, encode).await
}

fn limited(limit: Option<u32>) -> Option<u32> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    (1..=MAX_LIMIT).contains(&limit).then_some(limit)
}

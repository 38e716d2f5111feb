//! Single requests as Apache Parquet, for data teams: typed columns, money as exact decimals.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use read_api::{AsOf, ReadError};

use super::{Detail, Request};

/// The number of requests in one row group, which is in memory as a whole.
pub(super) const GROUP_ROWS: usize = 10_000;

/// The columns, in the order in which [`write_group`] writes them.
const SCHEMA: &str = "message requests {
    required binary request_id (STRING);
    required int64 time (TIMESTAMP(MICROS, true));
    required binary model (STRING);
    required binary provider (STRING);
    required binary api_key_hash (STRING);
    optional binary key_label (STRING);
    required binary creator (STRING);
    optional binary user (STRING);
    optional binary app (STRING);
    required int64 spend_usd (DECIMAL(18, 9));
    required int64 prompt_tokens;
    required int64 completion_tokens;
    required int64 reasoning_tokens;
    required int64 cached_tokens;
    optional int64 status;
    optional binary finish_reason (STRING);
}";

type FileWriter = SerializedFileWriter<Vec<u8>>;

/// Returns the file, made while it is sent. An error ends the connection; such a file has no footer, so that no reader takes it for whole.
///
/// # Errors
/// Never fails in practice, because memory takes all bytes.
pub(super) fn respond(detail: Detail, as_of: &AsOf) -> Result<Response, ReadError> {
    let file = new_file().map_err(|error| internal(&error))?;
    let parts = try_unfold(Some((detail, file)), async |state| {
        let Some((mut detail, mut file)) = state else { return Ok::<_, ReadError>(None) };
        let written = detail.part(|detail, requests| write_group(&mut file, detail, requests).map_err(|error| internal(&error))).await?;
        if written.is_none() {
            return Ok(Some((file.into_inner().map_err(|error| internal(&error))?, None)));
        }
        Ok(Some((std::mem::take(file.inner_mut()), Some((detail, file)))))
    });
    let mut response = Body::from_stream(parts).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.apache.parquet"));
    if let Ok(as_of) = HeaderValue::from_str(&as_of.to_header()) {
        response.headers_mut().insert("x-as-of", as_of);
    }
    Ok(response)
}

fn internal(error: &ParquetError) -> ReadError {
    tracing::error!(%error, "a Parquet file cannot be written: {error}");
    ReadError::Internal
}

fn new_file() -> Result<FileWriter, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_created_by("arouter".to_owned()).set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))
}

fn write_group<'a>(file: &mut FileWriter, detail: &'a Detail, requests: &'a [Request<'a>]) -> Result<(), ParquetError> {
    if requests.is_empty() {
        return Ok(());
    }
    let mut columns = Columns { group: file.next_row_group()?, requests };
    columns.texts(|request| Some(&request.request))?;
    columns.numbers(|request| Some(request.admitted_at_us))?;
    columns.texts(|request| Some(&request.model))?;
    columns.texts(|request| Some(&request.provider))?;
    columns.texts(|request| Some(&request.key_hash))?;
    columns.texts(|request| present(detail.key_label(&request.key_hash)))?;
    columns.texts(|_| Some(detail.account()))?;
    columns.texts(|request| present(&request.end_user))?;
    columns.texts(|request| present(&request.app))?;
    columns.numbers(|request| Some(request.cost_nanos))?;
    columns.numbers(|request| Some(request.prompt_tokens))?;
    columns.numbers(|request| Some(request.completion_tokens))?;
    columns.numbers(|request| Some(request.reasoning_tokens))?;
    columns.numbers(|request| Some(request.cached_tokens))?;
    columns.numbers(|request| request.status)?;
    columns.texts(|request| request.finish_reason.as_deref().and_then(present))?;
    columns.group.close()?;
    Ok(())
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The row group that is being written, column after column.
struct Columns<'file, 'a> {
    group: SerializedRowGroupWriter<'file, Vec<u8>>,
    requests: &'a [Request<'a>],
}

impl<'a> Columns<'_, 'a> {
    fn texts(&mut self, of: impl Fn(&'a Request<'a>) -> Option<&'a str>) -> Result<(), ParquetError> {
        self.write::<ByteArrayType>(|request| of(request).map(ByteArray::from))
    }

    fn numbers(&mut self, of: impl Fn(&'a Request<'a>) -> Option<i64>) -> Result<(), ParquetError> {
        self.write::<Int64Type>(of)
    }

    fn write<T: DataType>(&mut self, of: impl Fn(&'a Request<'a>) -> Option<T::T>) -> Result<(), ParquetError> {
        let cells = self.requests.iter().map(of);
        let (mut values, mut levels) = (Vec::with_capacity(self.requests.len()), Vec::with_capacity(self.requests.len()));
        for cell in cells {
            levels.push(i16::from(cell.is_some()));
            values.extend(cell);
        }
        let column = self.group.next_column()?;
        let mut column = column.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))?;
        column.typed::<T>().write_batch(&values, Some(&levels), None)?;
        column.close()
    }
}

//! The pages of a Parquet file's columns, before their values are read.
//!
//! The parquet crate makes room for as many values as the header of a dictionary says that it has,
//! so that one changed byte asks for gigabytes, and a process that does not get them ends. Headers
//! alone are read here, and dictionaries, which are small.

use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::reader::FileReader;

/// Fails if a dictionary of one of these columns, or of any, says that it has more values than bytes.
pub(crate) fn check(reader: &dyn FileReader, columns: Option<&[&str]>) -> Result<(), ParquetError> {
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let is_read = |column: usize| {
            let path = group.metadata().column(column).column_path();
            let is_named = |columns: &[&str]| {
                path.parts().first().is_some_and(|name| columns.contains(&name.as_str()))
            };
            columns.is_none_or(is_named)
        };
        for column in (0..group.num_columns()).filter(|column| is_read(*column)) {
            let mut pages = group.get_column_page_reader(column)?;
            while let Some(page) = pages.peek_next_page()? {
                if !page.is_dict {
                    pages.skip_next_page()?;
                    continue;
                }
                if let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()?
                    && num_values as usize > buf.len()
                {
                    return Err(ParquetError::General(format!(
                        "a dictionary of {} bytes is said to have {num_values} values",
                        buf.len()
                    )));
                }
            }
        }
    }
    Ok(())
}

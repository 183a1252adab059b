import CKernels

/// Rows of codes in memory that belongs to somebody else, all with the same bounds.
struct CodeRows {
  let native: ck_code_rows

  /// - Parameters:
  ///   - memory: `floatCount` floats.
  ///   - rows: the number of rows.
  ///   - columns: the codes of a row.
  init(_ memory: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
    // The marks come first, so that they are aligned.
    let codes = UnsafeMutableRawPointer(memory + rows).assumingMemoryBound(to: UInt8.self)
    native = ck_code_rows(codes: codes, stride: ck_code_stride(columns), marks: memory)
  }

  /// The floats that the codes and marks of some rows take.
  static func floatCount(rows: Int, columns: Int) -> Int {
    rows + (ck_code_byte_count(rows, columns) + 3) / 4
  }

  /// Codes rows of values, times `factor`, and adds the marks of their values to those of the rows.
  func code(
    _ x: UnsafePointer<Float>, stride: Int, rows: Range<Int>, columns: Range<Int>,
    by quantizer: ck_quantizer, factor: Float = 1
  ) {
    let part = ck_code_rows(
      codes: native.codes + rows.lowerBound * native.stride + columns.lowerBound,
      stride: native.stride, marks: native.marks + rows.lowerBound)
    withUnsafePointer(to: quantizer) { quantizer in
      withUnsafePointer(to: part) {
        ck_code(quantizer, factor, rows.count, columns.count, x, stride, $0)
      }
    }
  }

  /// Marks rows as having no value that is NaN.
  func clearMarks(rows: Int) { native.marks.update(repeating: 0, count: rows) }
}

extension ck_quantizer {
  /// Whether all values have the same bounds.
  var hasEqualBounds: Bool { !is_row_scaled && group_size == 0 }

  func isEqual(to other: ck_quantizer) -> Bool {
    lower == other.lower && upper == other.upper && levels == other.levels
      && is_row_scaled == other.is_row_scaled && group_size == other.group_size
  }
}

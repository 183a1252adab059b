/// How an exporter will write one tensor.
///
/// `Piece` is what the target's writer takes; pieces load their bytes when they are written, so
/// that a plan holds no weights.
struct PlannedTensor<Piece: Sendable>: Sendable {
  var form: String
  var pieces: [Piece]
  var byteCount: Int
  var paddedColumns: Int?
  var changes: [String] = []
  /// The values that the target's reader computes, row-major without padding; `nil` where the
  /// elements keep their bits.
  var values: [Float]?
}

/// Writes packed models in one target's form.
protocol ModelExporter: Sendable {
  associatedtype Piece: Sendable

  /// - Parameter load: the same tensor, for pieces to load again.
  /// - Throws: `FormatError` when the target has no form for it.
  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<Piece>

  /// The plan for a tensor that keeps its bits.
  ///
  /// - Throws: `FormatError` when the target has no such elements.
  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<Piece>

  /// Writes the pieces in order.
  ///
  /// - Returns: the files written.
  func write(
    _ pieces: [Piece], of description: ExportDescription, to path: String, replacesExisting: Bool,
    progress: WriteProgress?
  ) throws -> [ExportOutcome.File]
}

import Storage

/// What became of one tensor on its way between a packed file and a runtime's format.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let export = ModelExport(model, to: .gguf, options: ExportOptions(padsRows: true))
/// for tensor in try export.planned().tensors where tensor.fidelity == .lossy {
///   print(tensor.name, tensor.form, tensor.largestError)
/// }
/// ```
public struct ExportedTensor: Codable, Hashable, Sendable {
  /// Whether the reader of the result computes the same values as the reader of the source.
  public enum Fidelity: String, Codable, CaseIterable, Sendable {
    /// Equal in every element.
    case exact
    /// Different in at least one; `largestError` says by how much.
    case lossy
  }

  /// The tensor's name in the source.
  public let name: String
  /// The shape in the source.
  public let shape: [Int]
  /// The type of its elements once dequantized, by its name in packed files.
  public let elementType: String
  /// Bits of a code in the packed file; `nil` for tensors that are not quantized.
  public let bitWidth: Int?
  /// How the result holds it, as in `Q2_K` or `float32`.
  public let form: String
  /// How true the result is.
  public let fidelity: Fidelity
  /// max |w − ŵ| over all elements; 0 when exact.
  public let largestError: Double
  /// Elements of a row in the result, where rows were filled up.
  public let paddedColumns: Int?
  /// Bytes in the result: codes, parameters, and padding of rows.
  public let byteCount: Int
  /// What differs from the source besides the encoding: a sentence each, without an end.
  public let changes: [String]
}

/// What writing a model in another form did.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let outcome = try ModelExport(model, to: .safetensors).write(to: "codes.safetensors")
/// for file in outcome.files { print(file.path, file.byteCount) }
/// for note in outcome.notes { print(note) }
/// ```
public struct ExportOutcome: Hashable, Sendable {
  /// What became of each tensor, in the source's order.
  public var tensors: [ExportedTensor]
  /// Every file written.
  public var files: [File]
  /// What concerns the whole model: a sentence each, without an end.
  public var notes: [String]

  /// A file that was written.
  public struct File: Codable, Hashable, Sendable {
    /// As it was given, or below the folder that was given.
    public let path: String
    /// The file's length.
    public let byteCount: Int
  }
}

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
  /// - Throws: `ModelError` when the target has no form for it.
  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<Piece>

  /// The plan for a tensor that keeps its bits.
  ///
  /// - Throws: `ModelError` when the target has no such elements.
  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<Piece>

  /// The files that hold the pieces, in their order.
  ///
  /// - Throws: `ModelError` for what the target's format cannot hold.
  func output(_ pieces: [Piece], of description: ExportDescription) throws -> PlannedOutput
}

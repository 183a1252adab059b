import Storage

/// The outcome of converting one tensor between a packed file and a runtime's format.
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
    /// Different in at least one element; `largestError` says by how much.
    case lossy
  }

  /// The tensor's name in the source.
  public let name: String
  /// The shape in the source.
  public let shape: [Int]
  /// The type of the dequantized elements, by its name in packed files.
  public let elementType: String
  /// The bit width of a code in the packed file; `nil` for tensors that are not quantized.
  public let bitWidth: Int?
  /// The tensor's form in the result, such as `Q2_K` or `float32`.
  public let form: String
  /// Whether the result's values equal the source's.
  public let fidelity: Fidelity
  /// max |w − ŵ| over all elements; 0 when exact.
  public let largestError: Double
  /// The row length in the result, if rows were padded.
  public let paddedColumns: Int?
  /// Bytes in the result: codes, parameters, and padding of rows.
  public let byteCount: Int
  /// Differences from the source besides the encoding: one sentence each, without a full stop.
  public let changes: [String]

  package init(
    name: String, shape: [Int], elementType: String, bitWidth: Int?, form: String,
    fidelity: Fidelity, largestError: Double, paddedColumns: Int?, byteCount: Int,
    changes: [String]
  ) {
    self.name = name
    self.shape = shape
    self.elementType = elementType
    self.bitWidth = bitWidth
    self.form = form
    self.fidelity = fidelity
    self.largestError = largestError
    self.paddedColumns = paddedColumns
    self.byteCount = byteCount
    self.changes = changes
  }
}

/// The outcome of writing a model in another form.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let outcome = try ModelExport(model, to: .safetensors).write(to: "codes.safetensors")
/// for file in outcome.files { print(file.path, file.byteCount) }
/// for note in outcome.notes { print(note) }
/// ```
public struct ExportOutcome: Hashable, Sendable {
  /// The outcome for each tensor, in the source's order.
  public var tensors: [ExportedTensor]
  /// The files written.
  public var files: [File]
  /// Remarks on the whole model: one sentence each, without a full stop.
  public var notes: [String]

  package init(tensors: [ExportedTensor], files: [File], notes: [String]) {
    self.tensors = tensors
    self.files = files
    self.notes = notes
  }

  /// A file that was written.
  public struct File: Codable, Hashable, Sendable {
    /// The path as given, or below the folder as given.
    public let path: String
    /// The file's length.
    public let byteCount: Int

    package init(path: String, byteCount: Int) {
      self.path = path
      self.byteCount = byteCount
    }
  }
}

/// The form in which an exporter will write one tensor.
///
/// `Piece` is the input of the target's writer; pieces load their bytes when they are written, so a
/// plan holds no weights.
struct PlannedTensor<Piece: Sendable>: Sendable {
  var form: String
  var pieces: [Piece]
  var byteCount: Int
  var paddedColumns: Int?
  var changes: [String] = []
  /// The values that the target's reader computes, row-major without padding; `nil` if the elements
  /// keep their bits.
  var values: [Float]?
}

/// Writes packed models in one target's form.
protocol ModelExporter: Sendable {
  associatedtype Piece: Sendable

  /// Plans a quantized tensor.
  ///
  /// - Parameter load: loads the same tensor again, for pieces.
  /// - Throws: `ModelError` when the target has no form for it.
  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<Piece>

  /// Plans a tensor that keeps its bits.
  ///
  /// - Throws: `ModelError` when the target has no such element type.
  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<Piece>

  /// Plans the files that hold the pieces, in their order.
  ///
  /// - Throws: `ModelError` when the target's format cannot hold the pieces.
  func output(_ pieces: [Piece], of description: ExportDescription) throws -> PlannedOutput
}

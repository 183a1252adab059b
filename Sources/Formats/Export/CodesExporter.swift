import OrderedCollections
import Storage

/// Writes codes and parameters as plain tensors of a safetensors file, which loses nothing.
///
/// A quantized tensor `x` becomes `x.codes` (`uint8`, in the tensor's shape), `x.lower` and
/// `x.scale` (one value per cell); an element is `lower + scale · code`. The metadata entry
/// `condi.export` is a JSON object that describes the cells: `quantization.x` with `granularity`
/// and `parts`.
struct CodesExporter: ModelExporter {
  typealias Piece = NamedTensor

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<NamedTensor> {
    let cells: Shape = [tensor.layout.cellCount]
    // Codes of parameters are written as the numbers that they stand for.
    let type: ElementType = tensor.parameterType == .float16 ? .float16 : .float32
    func parameters(
      _ values: @escaping @Sendable (QuantizedTensor) -> [Float]
    ) throws -> Tensor {
      try Tensor(elementType: type, shape: cells) {
        SharedBytes(values(try load()), roundedTo: type)
      }
    }
    let pieces = [
      NamedTensor(
        "\(name).codes",
        try Tensor(elementType: .uint8, shape: tensor.shape) {
          SharedBytes(elementsOf: try load().unpackedCodes())
        }),
      NamedTensor("\(name).lower", try parameters(\.lower)),
      NamedTensor("\(name).scale", try parameters(\.scale)),
    ]
    return PlannedTensor(form: "codes in uint8", pieces: pieces, byteCount: pieces.byteCount)
  }

  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<NamedTensor> {
    PlannedTensor(
      form: tensor.elementType.rawValue, pieces: [NamedTensor(name, tensor)],
      byteCount: tensor.byteCount)
  }

  func output(
    _ pieces: [NamedTensor], of description: ExportDescription
  ) throws -> PlannedOutput {
    var archive = try TensorArchive(pieces)
    archive.metadata = try description.texts()
    archive.values = description.values
    return PlannedOutput(try SafetensorsFormat().plan(archive))
  }
}

/// A tensor of a safetensors file under construction.
struct NamedTensor: Sendable {
  let name: String
  let tensor: Tensor

  init(_ name: String, _ tensor: Tensor) {
    self.name = name
    self.tensor = tensor
  }
}

extension [NamedTensor] {
  var byteCount: Int { reduce(0) { $0 + $1.tensor.byteCount } }
}

extension TensorArchive {
  /// - Throws: `ModelError` when two tensors get the same name.
  init(_ pieces: [NamedTensor]) throws {
    self.init()
    for piece in pieces {
      guard tensors.updateValue(piece.tensor, forKey: piece.name) == nil else {
        throw ModelError.unsupported("two tensors would have this name", tensor: piece.name)
      }
    }
  }
}

extension AffineLayout {
  /// Whether each block of `length` adjacent elements, counted from the start of a row, shares its
  /// parameters.
  func hasUniformBlocks(of length: Int) -> Bool {
    guard case .group(let groupSize) = granularity else { return true }
    return groupSize >= columns || groupSize.isMultiple(of: length)
  }

  /// Returns the row length padded to whole blocks.
  ///
  /// - Throws: `ModelError` when it overflows.
  func paddedColumns(toMultipleOf length: Int) throws -> Int {
    let (sum, overflow) = columns.addingReportingOverflow(length - 1)
    let padded = sum / length * length
    guard !overflow, !padded.multipliedReportingOverflow(by: rows).overflow else {
      throw ModelError.unsupported("rows of \(columns) elements are too long to pad")
    }
    return padded
  }
}

extension QuantizedTensor {
  /// Returns the codes, with each row padded with code 0.
  func unpackedCodes(paddingRowsTo paddedColumns: Int) throws -> [UInt8] {
    let codes = try unpackedCodes()
    let columns = layout.columns
    guard paddedColumns > columns else { return codes }
    var padded = [UInt8](repeating: 0, count: layout.rows * paddedColumns)
    for row in 0..<layout.rows {
      padded.replaceSubrange(
        row * paddedColumns..<row * paddedColumns + columns,
        with: codes[row * columns..<(row + 1) * columns])
    }
    return padded
  }

  /// Returns the elements, rounded to their own type, as `Float`.
  func logicalValues() throws -> [Float] {
    try Tensor(elementType: elementType, shape: shape, bytes: dequantized()).floatValues()
  }
}

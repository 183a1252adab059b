import OrderedCollections

/// Codes and parameters as plain tensors of a safetensors file, which keeps everything.
///
/// A quantized tensor `x` becomes `x.codes` (`uint8`, in the tensor's shape), `x.lower` and
/// `x.scale` (one a cell); an element is `lower + scale · code`. The metadata entry `condi.export` is
/// a JSON object that says which cells there are: `quantization.x` with `granularity` and `parts`.
struct CodesExporter: ModelExporter {
  typealias Piece = NamedTensor

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<NamedTensor> {
    let cells: Shape = [tensor.layout.cellCount]
    let type: ElementType = tensor.parameterType == .float32 ? .float32 : .float16
    let width = cells.elementCount * tensor.parameterType.byteWidth
    let pieces = [
      NamedTensor(
        "\(name).codes",
        try Tensor(elementType: .uint8, shape: tensor.shape) {
          SharedBytes(elementsOf: try load().unpackedCodes())
        }),
      NamedTensor(
        "\(name).lower",
        try Tensor(elementType: type, shape: cells) { try load().parameterBytes.slice(0..<width) }),
      NamedTensor(
        "\(name).scale",
        try Tensor(elementType: type, shape: cells) {
          try load().parameterBytes.slice(width..<2 * width)
        }),
    ]
    return PlannedTensor(form: "codes in uint8", pieces: pieces, byteCount: pieces.byteCount)
  }

  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<NamedTensor> {
    PlannedTensor(
      form: tensor.elementType.rawValue, pieces: [NamedTensor(name, tensor)],
      byteCount: tensor.byteCount)
  }

  func write(
    _ pieces: [NamedTensor], of description: ExportDescription, to path: String,
    replacesExisting: Bool, progress: WriteProgress?
  ) throws -> [ExportOutcome.File] {
    var archive = try TensorArchive(pieces)
    archive.metadata = try description.texts()
    archive.values = description.values
    return [
      try archive.writeSafetensors(
        to: path, replacesExisting: replacesExisting, progress: progress)
    ]
  }
}

/// A tensor of a safetensors file that is being made.
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
  /// - Throws: `FormatError` when two tensors get the same name.
  init(_ pieces: [NamedTensor]) throws {
    self.init()
    for piece in pieces {
      guard tensors.updateValue(piece.tensor, forKey: piece.name) == nil else {
        throw FormatError.unsupported("two tensors would have this name", tensor: piece.name)
      }
    }
  }

  func writeSafetensors(to path: String, replacesExisting: Bool, progress: WriteProgress?) throws
    -> ExportOutcome.File
  {
    var writer = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    try locatingErrors(path: path) {
      try SafetensorsFormat().write(self, to: &writer, progress: progress)
    }
    let byteCount = writer.byteCount
    try writer.finish()
    return ExportOutcome.File(path: path, byteCount: byteCount)
  }
}

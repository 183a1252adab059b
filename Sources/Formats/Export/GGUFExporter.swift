import OrderedCollections
import Storage

/// Writes a GGUF file with quantized matrices in ggml's blocks; `GGUF.md` lists them.
struct GGUFExporter: ModelExporter {
  typealias Piece = GGUFWriter.Entry

  /// The type to whose blocks all matrices are rounded.
  let blocks: GGUFExportBlocks?
  let padsRows: Bool

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<GGUFWriter.Entry> {
    if let blocks {
      return try plan(name, tensor.shape, rounding: tensor.logicalValues(), to: blocks) {
        try load().logicalValues()
      }
    }
    let form = try GGUFQuantizedForm(
      tensor, codes: try tensor.unpackedCodes(), padsRows: padsRows)
    let entry = GGUFWriter.Entry(
      name: name, typeNumber: form.type.number, shape: [form.rows, form.paddedColumns],
      byteCount: form.byteCount
    ) { try form.encode(load()) }
    var plan = PlannedTensor(
      form: form.type.name, pieces: [entry], byteCount: form.byteCount,
      paddedColumns: form.paddedColumns > form.columns ? form.paddedColumns : nil)
    plan.values = form.values(try form.encode(tensor))
    plan.changes += Self.changes(ofName: name)
    let width = form.type.bitWidths.upperBound
    if width > tensor.bitWidth {
      plan.changes.append("\(tensor.bitWidth)-bit codes are stored in \(width) bits")
    }
    switch form.type {
    case .q2: plan.changes.append("Q2_0 needs ggml of July 2026 or later")
    case .q8:
      guard try plan.values != tensor.floatValues() else { break }
      plan.changes.append("values are rounded again, to multiples of one scale per 32")
    default: break
    }
    return plan
  }

  /// Plans a matrix that is rounded to blocks of a type.
  private func plan(
    _ name: String, _ shape: Shape, rounding values: [Float], to blocks: GGUFExportBlocks,
    load: @escaping @Sendable () throws -> [Float]
  ) throws -> PlannedTensor<GGUFWriter.Entry> {
    let quantizer = try GGUFBlockQuantizer(blocks, shape: shape, padsRows: padsRows)
    let entry = GGUFWriter.Entry(
      name: name, typeNumber: blocks.number, shape: [quantizer.rows, quantizer.paddedColumns],
      byteCount: quantizer.byteCount
    ) { try quantizer.encode(load()) }
    var plan = PlannedTensor(
      form: blocks.name, pieces: [entry], byteCount: quantizer.byteCount,
      paddedColumns: quantizer.paddedColumns > quantizer.columns ? quantizer.paddedColumns : nil)
    plan.values = quantizer.values(try quantizer.encode(values))
    plan.changes = Self.changes(ofName: name) + ["values are rounded to \(blocks.name)"]
    return plan
  }

  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<GGUFWriter.Entry> {
    if let blocks, tensor.shape.rank == 2,
      QuantizedTensor.supportedElementTypes.contains(
        tensor.elementType), tensor.shape.elementCount > 0,
      padsRows || tensor.shape.dimensions[1].isMultiple(of: blocks.blocks.elementCount)
    {
      return try plan(name, tensor.shape, rounding: tensor.floatValues(), to: blocks) {
        try tensor.floatValues()
      }
    }
    let stored = try StoredType(tensor.elementType)
    let widened = stored.widened ?? tensor.elementType
    let byteCount = tensor.shape.elementCount * widened.bitWidth / 8
    var plan = PlannedTensor(
      form: stored.name,
      pieces: [
        GGUFWriter.Entry(
          name: name, typeNumber: stored.number, shape: tensor.shape, byteCount: byteCount
        ) {
          guard let widened = stored.widened else { return try tensor.bytes() }
          return try Self.widen(tensor, to: widened)
        }
      ], byteCount: byteCount)
    plan.changes += Self.changes(ofName: name)
    if tensor.elementType == .bool || stored.widened != nil {
      plan.changes.append("\(tensor.elementType) as \(stored.name)")
    }
    if tensor.shape.rank == 0 { plan.changes.append("a scalar as one element along one axis") }
    return plan
  }

  private static func changes(ofName name: String) -> [String] {
    let name = GGUFName(name)
    return name.isShortened
      ? [
        "the name exceeds ggml's limit of \(GGUFName.byteCountLimit) bytes and is shortened to "
          + "'\(name.stored)'"
      ] : []
  }

  /// Returns the elements as signed integers of twice the width.
  private static func widen(_ tensor: Tensor, to type: ElementType) throws -> SharedBytes {
    let values = try tensor.doubleValues()  // of at most 32 bits, so exact
    return switch type {
    case .int16: SharedBytes(elementsOf: values.map { Int16($0) })
    case .int32: SharedBytes(elementsOf: values.map { Int32($0) })
    default: SharedBytes(elementsOf: values.map { Int64($0) })
    }
  }

  func output(
    _ pieces: [GGUFWriter.Entry], of description: ExportDescription
  ) throws -> PlannedOutput {
    var description = description
    for piece in pieces {
      let name = GGUFName(piece.name)
      if name.isShortened { description.fullNames[name.stored] = name.full }
    }
    var gguf = try GGUFWriter(pieces)
    gguf.texts["general.architecture"] = "condi"
    gguf.counts["general.quantization_version"] = 2
    gguf.texts[ExportDescription.key] = description.json.serialized()
    if !description.values.isEmpty {
      gguf.texts[SafetensorsFormat.valuesKey] =
        JSONValue.object(description.values.mapValues(\.json)).serialized()
    }
    if !description.metadata.isEmpty {
      gguf.texts["condi.metadata"] =
        JSONValue.object(description.metadata.mapValues(JSONValue.string)).serialized()
    }
    return PlannedOutput(try gguf.plan())
  }
}

extension GGUFExporter {
  /// The ggml type of elements that keep their values.
  private struct StoredType {
    let name: String
    let number: UInt32
    /// The wider type that elements are converted to; `nil` when they keep their bits.
    var widened: ElementType?

    /// - Throws: `ModelError` when ggml has no such type.
    init(_ type: ElementType) throws {
      switch type {
      case .float32: (name, number) = ("F32", 0)
      case .float16: (name, number) = ("F16", 1)
      case .bfloat16: (name, number) = ("BF16", 30)
      case .float64: (name, number) = ("F64", 28)
      case .int8, .bool: (name, number) = ("I8", 24)
      case .int16: (name, number) = ("I16", 25)
      case .int32: (name, number) = ("I32", 26)
      case .int64: (name, number) = ("I64", 27)
      case .uint8: (name, number, widened) = ("I16", 25, .int16)
      case .uint16: (name, number, widened) = ("I32", 26, .int32)
      case .uint32: (name, number, widened) = ("I64", 27, .int64)
      default: throw ModelError.unsupported("GGUF has no type for \(type) elements")
      }
    }
  }
}

import OrderedCollections
import Storage

/// 4-bit and other narrow codes as bitsandbytes, NVFP4, MXFP4, compressed-tensors and others store
/// them.
extension TensorAssembly {
  // MARK: bitsandbytes

  /// Finds bitsandbytes' codes: `weight` packs two codes into each byte, the first in the high
  /// bits; a value is the code's entry in `quant_map` times the block's `absmax`, which may itself
  /// be a code.
  func findBitsAndBytes() {
    for marker in ["nf4", "fp4"] {
      for (state, codes) in names(ending: ".quant_state.bitsandbytes__\(marker)") {
        let parts =
          [codes]
          + ["absmax", "quant_map", "nested_absmax", "nested_quant_map"].map { "\(codes).\($0)" }
          + [state]
        let present = parts.filter { tensor($0) != nil }
        add(codes, .bitsandbytes, present, rule: "bitsandbytes' \(marker) codes") {
          try assembledBitsAndBytes(codes, state: state, marker)
        }
      }
    }
  }

  private func assembledBitsAndBytes(
    _ name: String, state: String, _ marker: String
  ) throws -> Assembled {
    let members = try locatingErrors(tensor: state) {
      try stored.tensors[state]?.jsonMembers() ?? [:]
    }
    var dimensions: [Int] = []
    if case .array(let sizes)? = members["shape"] {
      dimensions = sizes.compactMap { if case .integer(let size) = $0 { size } else { nil } }
    }
    guard case .integer(let block)? = members["blocksize"], block > 0,
      let shape = Shape(dimensions), shape.elementCount > 0
    else {
      throw ModelError.malformed("it has no shape and block size", tensor: state)
    }
    guard let codes = stored.tensors[name],
      codes.byteCount == (shape.elementCount - 1) / 2 + 1,
      let largest = stored.tensors["\(name).absmax"],
      largest.shape.elementCount == (shape.elementCount - 1) / block + 1,
      let map = stored.tensors["\(name).quant_map"], map.shape.elementCount == 16
    else {
      throw ModelError.mismatch(
        expected: "codes, a map of 16 and a magnitude for each block of \(block)",
        found: "other shapes")
    }
    let nested = try nestedMagnitudes(name, members, count: largest.shape.elementCount)
    let tensor = try Tensor(shape: shape) {
      let table = try map.floatValues()
      let magnitudes = try nested?(largest) ?? largest.floatValues()
      let bytes = try locatingErrors(tensor: name) { try codes.bytes() }
      return bytes.withUnsafeBytes { buffer in
        (0..<shape.elementCount).map { index in
          let byte = buffer[index / 2]
          return table[Int(index.isMultiple(of: 2) ? byte >> 4 : byte & 15)]
            * magnitudes[index / block]
        }
      }
    }
    return Assembled(
      tensor: tensor,
      rule: "dequantized from bitsandbytes, \(marker), blocks of \(block)"
        + (nested == nil ? "" : ", with quantized magnitudes"))
  }

  /// Returns a function that decodes magnitudes that are codes themselves; `nil` if they are
  /// numbers.
  private func nestedMagnitudes(
    _ name: String, _ members: OrderedDictionary<String, JSONValue>, count: Int
  ) throws -> (@Sendable (Tensor) throws -> [Float])? {
    guard let map = stored.tensors["\(name).nested_quant_map"] else { return nil }
    let offset: Double? =
      switch members["nested_offset"] {
      case .number(let value)?: value
      case .integer(let value)?: Double(value)
      default: nil
      }
    guard case .integer(let block)? = members["nested_blocksize"], block > 0, let offset,
      map.shape.elementCount == 256, let scales = stored.tensors["\(name).nested_absmax"],
      scales.shape.elementCount == (count - 1) / block + 1,
      stored.tensors["\(name).absmax"]?.elementType == .uint8
    else {
      throw ModelError.mismatch(
        expected: "magnitudes as codes of 8 bits with a map of 256", found: "other shapes")
    }
    return { codes in
      let (table, factors) = try (map.floatValues(), scales.floatValues())
      return try codes.doubleValues().enumerated().map { index, code in
        table[Int(code)] * factors[index / block] + Float(offset)
      }
    }
  }

  // MARK: Microscaling

  /// The values of the 4-bit codes (E2M1).
  private static let fourBitValues: [Float] = [
    0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6,
  ]

  func findMicroscaling() {
    // NVFP4 of ModelOpt: the global scale multiplies the block scales.
    for (name, stem) in names(ending: "weight_scale_2") where stem.isEmpty || stem.hasSuffix(".") {
      guard tensor("\(stem)weight")?.elementType == .uint8 else { continue }
      addNVFP4(
        "\(stem)weight", codes: "\(stem)weight", scales: "\(stem)weight_scale", global: name,
        divides: false)
    }
    // NVFP4 of compressed-tensors: the global scale divides them.
    for (name, stem) in names(ending: "weight_global_scale")
    where stem.isEmpty || stem.hasSuffix(".") {
      guard tensor("\(stem)weight_packed")?.elementType == .uint8 else { continue }
      addNVFP4(
        "\(stem)weight", codes: "\(stem)weight_packed", scales: "\(stem)weight_scale",
        global: name, divides: true)
    }
    // MXFP4 of gpt-oss.
    for (name, stem) in names(ending: "_blocks") {
      guard let blocks = tensor(name), blocks.elementType == .uint8,
        let scales = tensor("\(stem)_scales"), scales.elementType == .uint8
      else { continue }
      addMXFP4(stem, (name, blocks), ("\(stem)_scales", scales))
    }
  }

  private func addNVFP4(
    _ logical: String, codes name: String, scales scaleName: String, global globalName: String,
    divides: Bool
  ) {
    let parts = [name, scaleName, globalName].filter { tensor($0) != nil }
    add(logical, .microscaling, parts, rule: "NVFP4 codes") {
      let codes = try stored.require(name, [.uint8], rank: 2)
      let scales = try stored.require(scaleName, [.float8E4M3FN], rank: 2)
      let (rows, bytes) = (codes.shape.dimensions[0], codes.shape.dimensions[1])
      let (columns, overflow) = bytes.multipliedReportingOverflow(by: 2)
      guard let global = stored.tensors[globalName], global.shape.elementCount == 1,
        global.elementType.isFloatingPoint, !overflow, columns.isMultiple(of: 16),
        scales.shape.dimensions == [rows, columns / 16], let shape = Shape([rows, columns]),
        shape.elementCount > 0
      else {
        throw ModelError.mismatch(
          expected: "one scale for each 16 codes of a row, and one number for all",
          found: "codes \(codes.shape) and scales \(scales.shape)")
      }
      let tensor = try Tensor(shape: shape) {
        let factor = try global.floatValues()[0]
        let steps = try scales.floatValues().map { divides ? $0 / factor : $0 * factor }
        return try Self.fourBitProducts(
          locatingErrors(tensor: name) { try codes.bytes() }, steps, block: 16)
      }
      return Assembled(
        tensor: tensor, rule: "dequantized from NVFP4, blocks of 16",
        remark: Self.keptActivationScale(stored, logical))
    }
  }

  private static func keptActivationScale(_ stored: TensorArchive, _ logical: String) -> String? {
    let stem = logical.dropLast("weight".count)
    return stored.tensors["\(stem)input_scale"] == nil
      && stored.tensors["\(stem)input_global_scale"] == nil
      ? nil : "scales of activations beside it are kept as they are"
  }

  /// Adds `[…, out, groups, 16]` bytes with `[…, out, groups]` exponents; the tensor is transposed
  /// to `[…, in, out]`, as the model reads it.
  private func addMXFP4(
    _ logical: String, _ blocks: (name: String, tensor: Tensor),
    _ scales: (name: String, tensor: Tensor)
  ) {
    let (codes, exponents) = (blocks.tensor, scales.tensor)
    add(logical, .microscaling, [blocks.name, scales.name], rule: "MXFP4 codes") {
      let dimensions = codes.shape.dimensions
      guard codes.shape.rank >= 3, dimensions.last == 16,
        exponents.shape.dimensions == Array(dimensions.dropLast()), codes.shape.elementCount > 0,
        codes.shape.elementCount <= Int.max / 16
      else {
        throw ModelError.mismatch(
          expected: "16 bytes and one exponent for each 32 codes",
          found: "\(codes.shape) and \(exponents.shape)")
      }
      let outputs = dimensions[dimensions.count - 3]
      let inputs = dimensions[dimensions.count - 2] * 32
      guard let shape = Shape(Array(dimensions.dropLast(3)) + [inputs, outputs]) else {
        throw ModelError.malformed("it has too many elements")
      }
      let tensor = try Tensor(shape: shape) {
        let steps = try exponents.doubleValues().map {
          $0 == 255
            ? Float.nan : Float(Double(sign: .plus, exponent: Int($0) - 127, significand: 1))
        }
        let rows = try Self.fourBitProducts(
          locatingErrors(tensor: blocks.name) { try codes.bytes() }, steps, block: 32)
        var values = rows
        let size = inputs * outputs
        for matrix in 0..<rows.count / size {
          for output in 0..<outputs {
            for input in 0..<inputs {
              values[matrix * size + input * outputs + output] =
                rows[matrix * size + output * inputs + input]
            }
          }
        }
        return values
      }
      return Assembled(tensor: tensor, rule: "dequantized from MXFP4, blocks of 32")
    }
  }

  /// Decodes two codes per byte, the first in the low bits, and multiplies each by its block's
  /// scale.
  private static func fourBitProducts(
    _ bytes: SharedBytes, _ scales: [Float], block: Int
  ) -> [Float] {
    bytes.withUnsafeBytes { buffer in
      (0..<buffer.count * 2).map { index in
        let byte = buffer[index / 2]
        let code = index.isMultiple(of: 2) ? byte & 15 : byte >> 4
        return fourBitValues[Int(code)] * scales[index / block]
      }
    }
  }

  // MARK: compressed-tensors

  /// Finds `weight_packed` tensors; `CompressedTensorsImporter` has their layout.
  func findCompressedTensors() {
    for (name, stem) in names(ending: "weight_packed") where stem.isEmpty || stem.hasSuffix(".") {
      let parts = [
        name, "\(stem)weight_scale", "\(stem)weight_shape", "\(stem)weight_zero_point",
        "\(stem)weight_g_idx",
      ].filter { tensor($0) != nil }
      add("\(stem)weight", .compressedTensors, parts, rule: "codes of compressed-tensors") {
        var assembled = try Self.assembled(
          CompressedTensorsImporter(configuration).matrix(stem, of: stored))
        assembled.remark = Self.keptActivationScale(stored, "\(stem)weight")
        return assembled
      }
    }
  }

  // MARK: Others

  /// Finds codes that are recognized only by name, and are not read.
  func findOtherCodes() {
    let way = "its codes are not read; save the model dequantized"
    for (name, stem) in names(ending: "W_q") where stem.isEmpty || stem.hasSuffix(".") {
      let beside = ["scale", "zero", "shape", "nbits", "group_size", "axis", "packing", "meta"]
      let parts = beside.map { stem + $0 }.filter { tensor($0) != nil }
      guard tensor("\(stem)scale") != nil || tensor("\(stem)meta") != nil else { continue }
      add("\(stem)weight", .otherCodes, [name] + parts, rule: "HQQ codes", obstacle: way)
    }
    let torchao = [
      ("_weight_qdata", ["_weight_scale", "_weight_zero_point", "_weight_scale_and_zero"]),
      ("qdata", ["scale", "zero_point", "scale_and_zero"]),
      (":_data", [":_scale", ":_zero_point"]),
    ]
    for (suffix, others) in torchao {
      for (name, stem) in names(ending: suffix) {
        let parts = others.map { stem + $0 }.filter { tensor($0) != nil }
        guard !parts.isEmpty else { continue }
        let path = stem.hasSuffix(":") || stem.hasSuffix(".") ? String(stem.dropLast()) : stem
        add(path, .otherCodes, [name] + parts, rule: "torchao codes", obstacle: way)
      }
    }
    for (name, stem) in names(ending: "._data._data") {
      let parts = ["._scale", "._shift", "._zeropoint"].map { stem + $0 }
      add(
        stem, .otherCodes, [name] + parts.filter { tensor($0) != nil }, rule: "quanto codes",
        obstacle: way)
    }
  }
}

import Storage

/// Finds the quantized modules of an AWQ checkpoint, in the layout `gemm` of AutoAWQ.
///
/// A module `x` has `x.qweight` (`int32` `[in, out / 8]`: 4-bit codes along the outputs, in an order
/// of their own within a word), `x.qzeros` (`int32` `[groups, out / 8]`, likewise) and `x.scales`
/// (`[groups, out]`). An element of `x.weight` (`[out, in]`) is `scale · (code − zero)`. The lower
/// bound is `−scale · zero`, which Float32 holds exactly for 16-bit scales.
struct AWQImporter {
  /// The place within a word of each of 8 neighbouring codes.
  private static let places = [0, 4, 1, 5, 2, 6, 3, 7]

  private let configuration: QuantizationConfiguration

  init(_ configuration: QuantizationConfiguration) {
    self.configuration = configuration
  }

  func matrices(of archive: TensorArchive) throws -> [ImportedMatrix] {
    try archive.tensors.keys.filter { $0 == "qweight" || $0.hasSuffix(".qweight") }
      .map { try matrix(String($0.dropLast("qweight".count)), of: archive) }
  }

  /// Plans one module without reading any weight.
  ///
  /// - Parameter prefix: the prefix of the module's tensors, including the dot.
  func matrix(_ prefix: String, of archive: TensorArchive) throws -> ImportedMatrix {
    let name = "\(prefix)qweight"
    let weight = try archive.require(name, [.int32, .uint32], rank: 2)
    let zeros = try archive.require("\(prefix)qzeros", [.int32, .uint32], rank: 2)
    let scales = try archive.require(
      "\(prefix)scales", [.float16, .bfloat16, .float32], rank: 2)
    let version = configuration.text("version") ?? "gemm"
    let bits = configuration.integer("bits") ?? configuration.integer("w_bit") ?? 4
    guard version == "gemm", bits == 4 else {
      throw ModelError.unsupported(
        "AWQ's layout '\(version)' with \(bits) bits is not supported, only 'gemm' with 4 bits")
    }
    let (inputs, words) = (weight.shape.dimensions[0], weight.shape.dimensions[1])
    let groups = scales.shape.dimensions[0]
    let (outputs, overflow) = words.multipliedReportingOverflow(by: 8)
    guard !overflow, scales.shape.dimensions[1] == outputs,
      zeros.shape.dimensions == [groups, words], groups > 0, inputs.isMultiple(of: groups),
      let shape = Shape([outputs, inputs]), shape.elementCount > 0
    else {
      throw ModelError.mismatch(
        expected: "shapes of AWQ's 'gemm' layout",
        found: "\(weight.shape), qzeros \(zeros.shape) and scales \(scales.shape)")
    }
    let size = inputs / groups
    let configured =
      configuration.integer("group_size") ?? configuration.integer("q_group_size")
    if let configured, configured > 0, configured != size {
      throw ModelError.mismatch(
        expected: "groups of \(configured), as the configuration says", found: "groups of \(size)")
    }
    let layout = try locatingErrors(tensor: name) {
      try AffineLayout(
        rows: outputs, columns: inputs, granularity: groups == 1 ? .channel : .group(size))
    }
    let spec = AffineSpec(layout: layout, bitWidth: 4, parameterType: .float32)
    let load: @Sendable () throws -> ImportedMatrix.Loaded = {
      let stored = try Self.codes(locatingErrors(tensor: name) { try weight.bytes() })
      return try Self.loaded(
        stored, zeros: Self.codes(zeros.bytes()), scales: scales.floatValues(),
        scales.elementType, shape, spec, groupSize: size)
    }
    let label = configuration.method
    return ImportedMatrix(
      name: "\(prefix)weight", parts: [name, "\(prefix)qzeros", "\(prefix)scales"],
      elementType: scales.elementType, shape: shape, spec: spec,
      form: "AWQ, 4 bits, groups of \(size)",
      remark: label == nil || label == "awq"
        ? nil
        : "the configuration's 'quant_method' is '\(label ?? "")', but the shapes are AWQ's",
      load: load, values: { try load().values })
  }

  /// - Parameters:
  ///   - stored: `[in, out]`.
  ///   - zeros: `[groups, out]`, as the scales.
  private static func loaded(
    _ stored: [UInt8], zeros: [UInt8], scales: [Float], _ type: ElementType, _ shape: Shape,
    _ spec: AffineSpec, groupSize: Int
  ) throws -> ImportedMatrix.Loaded {
    let (outputs, inputs) = (spec.layout.rows, spec.layout.columns)
    let groups = inputs / groupSize
    var codes = [UInt8](repeating: 0, count: stored.count)
    var values = [Float](repeating: 0, count: stored.count)
    var lower: [Float] = []
    var scale: [Float] = []
    for output in 0..<outputs {
      for group in 0..<groups {
        let step = scales[group * outputs + output]
        lower.append(-(step * Float(zeros[group * outputs + output])))
        scale.append(step)
      }
      for input in 0..<inputs {
        let place = input / groupSize * outputs + output
        let code = stored[input * outputs + output]
        codes[output * inputs + input] = code
        values[output * inputs + input] = type.rounded(
          (Float(code) - Float(zeros[place])) * scales[place])
      }
    }
    return ImportedMatrix.Loaded(
      tensor: try QuantizedTensor(
        elementType: type, shape: shape, spec: spec, lower: lower, scale: scale,
        codes: BitStream.pack(codes, bitWidth: 4)), values: values)
  }

  /// Returns the codes of words that hold 8 each, in the order of the outputs.
  private static func codes(_ bytes: SharedBytes) -> [UInt8] {
    bytes.withUnsafeBytes { buffer in
      var codes: [UInt8] = []
      codes.reserveCapacity(buffer.count * 2)
      for offset in stride(from: 0, to: buffer.count - 3, by: 4) {
        let word = buffer.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        for place in places { codes.append(UInt8(word >> (4 * UInt32(place)) & 15)) }
      }
      return codes
    }
  }
}

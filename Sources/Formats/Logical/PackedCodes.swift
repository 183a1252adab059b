import OrderedCollections
import Storage

/// Codes that several programs pack into words: GPTQ, AWQ, MLX.
extension TensorAssembly {
  // MARK: GPTQ and AWQ

  func findGPTQAndAWQ() {
    let importer = Result {
      guard let json = configuration.json, configuration.integer("bits") != nil else {
        return GPTQImporter()
      }
      return try GPTQImporter(config: json)
    }
    for (name, stem) in names(ending: "qweight") where stem.isEmpty || stem.hasSuffix(".") {
      let parts = [name, "\(stem)qzeros", "\(stem)scales", "\(stem)g_idx"].filter {
        tensor($0) != nil
      }
      let isAWQ = isAWQ(stem)
      add(
        "\(stem)weight", isAWQ ? .awq : .gptq, parts, rule: isAWQ ? "AWQ codes" : "GPTQ codes"
      ) {
        if isAWQ { return try assembledAWQ(stem) }
        return try Self.assembled(importer.get().matrix(stem, of: stored))
      }
    }
  }

  private static func assembled(_ matrix: ImportedMatrix) throws -> Assembled {
    Assembled(
      tensor: try Tensor.rounded(to: matrix.elementType, shape: matrix.shape, matrix.values),
      rule: "dequantized from \(matrix.form)", remark: matrix.remark)
  }

  /// Whether codes are packed along the outputs, as in AWQ, rather than along the inputs.
  private func isAWQ(_ stem: String) -> Bool {
    guard let weight = tensor("\(stem)qweight"), let scales = tensor("\(stem)scales"),
      weight.shape.rank == 2, scales.shape.rank == 2
    else { return false }
    if let zeros = tensor("\(stem)qzeros"), zeros.shape.rank == 2,
      zeros.shape.dimensions[1] == weight.shape.dimensions[1],
      scales.shape.dimensions[1] != weight.shape.dimensions[1]
    {
      return true
    }
    return configuration.method == "awq" && tensor("\(stem)g_idx") == nil
      && scales.shape.dimensions[1] != weight.shape.dimensions[1]
  }

  /// The place within a word of each of 8 neighbouring 4-bit codes, in AutoAWQ's GEMM layout.
  private static let awqPlaces = [0, 4, 1, 5, 2, 6, 3, 7]

  /// Assembles AutoAWQ's GEMM layout: `qweight` `[in, out / 8]` and `qzeros` `[groups, out / 8]`
  /// hold 4-bit codes along the outputs, in an order of their own. A weight is `scale · (code −
  /// zero)`.
  private func assembledAWQ(_ stem: String) throws -> Assembled {
    let name = "\(stem)qweight"
    let weight = try stored.require(name, [.int32, .uint32], rank: 2)
    let zeros = try stored.require("\(stem)qzeros", [.int32, .uint32], rank: 2)
    let scales = try stored.require("\(stem)scales", [.float16, .bfloat16, .float32], rank: 2)
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
    let type = scales.elementType
    let values: @Sendable () throws -> [Float] = {
      let codes = try Self.awqCodes(locatingErrors(tensor: name) { try weight.bytes() })
      let points = try Self.awqCodes(zeros.bytes())
      let steps = try scales.floatValues()
      var values = [Float](repeating: 0, count: shape.elementCount)
      for input in 0..<inputs {
        let group = input / size * outputs
        for output in 0..<outputs {
          let difference = Float(codes[input * outputs + output]) - Float(points[group + output])
          values[output * inputs + input] = type.rounded(difference * steps[group + output])
        }
      }
      return values
    }
    let tensor = try Tensor.rounded(to: type, shape: shape, values)
    let label = configuration.method
    return Assembled(
      tensor: tensor, rule: "dequantized from AWQ, 4 bits, groups of \(size)",
      remark: label == nil || label == "awq"
        ? nil
        : "the configuration's 'quant_method' is '\(label ?? "")', but the shapes are AWQ's")
  }

  /// Returns the codes of words that hold 8 each, in the order of the outputs.
  private static func awqCodes(_ bytes: SharedBytes) -> [UInt8] {
    bytes.withUnsafeBytes { buffer in
      var codes: [UInt8] = []
      codes.reserveCapacity(buffer.count * 2)
      for offset in stride(from: 0, to: buffer.count - 3, by: 4) {
        let word = buffer.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        for place in awqPlaces { codes.append(UInt8(word >> (4 * UInt32(place)) & 15)) }
      }
      return codes
    }
  }

  // MARK: MLX

  func findMLX() {
    let modules = names(ending: ".scales").filter { name, stem in
      tensor("\(stem).weight")?.elementType == .uint32
    }
    guard !modules.isEmpty else { return }
    let origin = try? ExportDescription.origin(in: stored.metadata)
    let importer = Result {
      guard let json = configuration.json else {
        throw ModelError.mismatch(
          expected: "a config.json beside the file that says bits and group sizes", found: "none")
      }
      return try MLXImporter(config: json)
    }
    for (name, path) in modules {
      let parts = ["\(path).weight", name, "\(path).biases"].filter { tensor($0) != nil }
      add("\(path).weight", .mlx, parts, rule: "MLX codes") {
        try Self.assembled(
          importer.get().matrix(
            path, of: stored,
            columnsBeforePadding: origin?.columnsBeforePadding["\(path).weight"]))
      }
    }
  }
}

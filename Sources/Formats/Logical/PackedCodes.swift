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
        if isAWQ {
          return try Self.assembled(AWQImporter(configuration).matrix(stem, of: stored))
        }
        return try Self.assembled(importer.get().matrix(stem, of: stored))
      }
    }
  }

  static func assembled(_ matrix: ImportedMatrix) throws -> Assembled {
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

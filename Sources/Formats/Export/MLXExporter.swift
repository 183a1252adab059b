import OrderedCollections
import Storage

/// Writes a folder that MLX opens: `model.safetensors` with `weight`, `scales` and `biases` of each
/// quantized module, and `config.json` with the bit widths and group sizes.
///
/// Scales and biases are `float32`, so that `scale · code + bias` is bit for bit the packed file's
/// `lower + scale · code` in Float32; tensors with narrower elements differ by their rounding.
struct MLXExporter: ModelExporter {
  /// The names of the configuration and the tensors.
  static let fileNames = ["config.json", "model.safetensors"]

  struct Piece: Sendable {
    let tensors: [NamedTensor]
    /// The module's path and form; `nil` for tensors that are not quantized.
    var module: (path: String, form: MLXForm)?
  }

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<Piece> {
    guard name.hasSuffix(".weight") else {
      throw ModelError.unsupported("MLX quantizes only the 'weight' of a module")
    }
    let path = String(name.dropLast(".weight".count))
    let form = try MLXForm(tensor, padsRows: padsRows)
    let scales = form.perGroup(tensor.scale, tensor.layout)
    let biases = form.perGroup(tensor.lower, tensor.layout)
    let groups: Shape = [form.rows, form.groupsPerRow]
    let tensors = [
      NamedTensor(
        name,
        try Tensor(elementType: .uint32, shape: [form.rows, form.wordsPerRow]) {
          try form.words(of: load())
        }),
      NamedTensor(
        "\(path).scales",
        try Tensor(elementType: .float32, shape: groups) {
          let tensor = try load()
          return SharedBytes(elementsOf: form.perGroup(tensor.scale, tensor.layout))
        }),
      NamedTensor(
        "\(path).biases",
        try Tensor(elementType: .float32, shape: groups) {
          let tensor = try load()
          return SharedBytes(elementsOf: form.perGroup(tensor.lower, tensor.layout))
        }),
    ]
    var plan = PlannedTensor(
      form: "\(form.bitWidth) bits, groups of \(form.groupSize)",
      pieces: [Piece(tensors: tensors, module: (path, form))], byteCount: tensors.byteCount)
    plan.values = MLXForm.values(
      codes: try tensor.unpackedCodes(paddingRowsTo: form.paddedColumns), scales: scales,
      biases: biases, columns: form.columns, paddedColumns: form.paddedColumns,
      groupSize: form.groupSize)
    if form.paddedColumns > form.columns { plan.paddedColumns = form.paddedColumns }
    if form.bitWidth > tensor.bitWidth {
      plan.changes.append("\(tensor.bitWidth)-bit codes are stored in \(form.bitWidth) bits")
    }
    return plan
  }

  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<Piece> {
    PlannedTensor(
      form: tensor.elementType.rawValue, pieces: [Piece(tensors: [NamedTensor(name, tensor)])],
      byteCount: tensor.byteCount)
  }

  func output(_ pieces: [Piece], of description: ExportDescription) throws -> PlannedOutput {
    var archive = try TensorArchive(pieces.flatMap(\.tensors))
    archive.metadata = try description.texts()
    archive.metadata["format"] = "mlx"
    archive.values = description.values
    let config = configuration(pieces.compactMap(\.module), description)
    try config.checkKeys()
    let text = SharedBytes((config.serialized(pretty: true) + "\n").utf8)
    let contents = [PlannedFile(content: text), try SafetensorsFormat().plan(archive)]
    return PlannedOutput(folderOf: zip(Self.fileNames, contents).map { (name: $0, file: $1) })
  }

  /// Returns the configuration, with the most frequent form as the default and entries for modules
  /// with another form.
  private func configuration(
    _ modules: [(path: String, form: MLXForm)], _ description: ExportDescription
  ) -> JSONValue {
    var config: OrderedDictionary<String, JSONValue> = [:]
    var counts: OrderedDictionary<[Int], Int> = [:]
    for module in modules {
      counts[[module.form.groupSize, module.form.bitWidth], default: 0] += 1
    }
    if let most = counts.values.max(), let usual = counts.first(where: { $0.value == most })?.key {
      var quantization: OrderedDictionary<String, JSONValue> = [
        "group_size": .integer(usual[0]), "bits": .integer(usual[1]), "mode": .string("affine"),
      ]
      for module in modules
      where [module.form.groupSize, module.form.bitWidth] != usual
        && quantization[module.path] == nil
      {
        quantization[module.path] = .object([
          "group_size": .integer(module.form.groupSize), "bits": .integer(module.form.bitWidth),
        ])
      }
      config["quantization"] = .object(quantization)
    }
    config["condi"] = description.json
    return .object(config)
  }
}

/// A matrix in MLX's affine mode: `scale · code + bias` for groups along a row.
///
/// Codes are a little-endian bit stream, low bits first, in `uint32` words; every row has whole
/// words because it has whole groups. Source: `affine_quantize` in MLX's `ops.cpp`, and its CPU
/// kernels, which round the product before the sum.
struct MLXForm: Hashable, Sendable {
  /// The bit width in MLX, which is wider than the packed file's if MLX lacks that.
  let bitWidth: Int
  let groupSize: Int
  let rows: Int
  let columns: Int
  let paddedColumns: Int

  static let bitWidths = [2, 3, 4, 5, 6, 8]
  /// The largest comes first, because it needs the fewest parameters.
  static let groupSizes = [128, 64, 32]

  /// Chooses the form with the shortest rows and, among those, the largest groups.
  ///
  /// - Throws: `ModelError` when MLX has no form for the tensor.
  init(_ tensor: QuantizedTensor, padsRows: Bool) throws {
    let layout = tensor.layout
    guard tensor.shape.rank == 2 else {
      throw ModelError.unsupported("MLX quantizes matrices, not \(tensor.shape)")
    }
    guard let bitWidth = Self.bitWidths.first(where: { $0 >= tensor.bitWidth }) else {
      throw ModelError.unsupported("MLX has no \(tensor.bitWidth)-bit codes")
    }
    let fitting = Self.groupSizes.filter(layout.hasUniformBlocks)
    guard !fitting.isEmpty else {
      throw ModelError.unsupported(
        "bounds per \(layout.granularity) cannot be expressed in MLX's groups of 32, 64 or 128")
    }
    var best: (groupSize: Int, paddedColumns: Int)?
    for groupSize in fitting {
      let padded = try layout.paddedColumns(toMultipleOf: groupSize)
      guard padsRows || padded == layout.columns else { continue }
      if best.map({ padded < $0.paddedColumns }) ?? true { best = (groupSize, padded) }
    }
    guard let best else {
      throw ModelError.unsupported(
        "rows of \(layout.columns) elements are not whole groups of \(Self.groupSizes.last ?? 0) in "
          + "MLX"
      ).offering(.padding)
    }
    self.bitWidth = bitWidth
    (groupSize, paddedColumns) = best
    rows = layout.rows
    columns = layout.columns
  }

  /// The number of `uint32` words in a row.
  var wordsPerRow: Int { paddedColumns / 32 * bitWidth }
  var groupsPerRow: Int { paddedColumns / groupSize }

  func words(of tensor: QuantizedTensor) throws -> SharedBytes {
    BitStream.pack(
      try tensor.unpackedCodes(paddingRowsTo: paddedColumns), bitWidth: bitWidth)
  }

  /// Returns one parameter per group, row-major.
  func perGroup(_ parameters: [Float], _ layout: AffineLayout) -> [Float] {
    (0..<rows).flatMap { row in
      (0..<groupsPerRow).map { parameters[layout.cellIndex(row: row, column: $0 * groupSize)] }
    }
  }

  /// Returns the values that MLX dequantizes in `float32`, without padding.
  static func values(
    codes: [UInt8], scales: [Float], biases: [Float], columns: Int, paddedColumns: Int,
    groupSize: Int
  ) -> [Float] {
    let rows = paddedColumns == 0 ? 0 : codes.count / paddedColumns
    let groupsPerRow = paddedColumns / groupSize
    var values: [Float] = []
    values.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        let group = row * groupsPerRow + column / groupSize
        let product = scales[group] * Float(codes[row * paddedColumns + column])
        values.append(product + biases[group])
      }
    }
    return values
  }
}

import Storage

/// Finds the quantized modules of an MLX checkpoint.
///
/// A module `x` has `x.weight` (`uint32`, codes low bits first), `x.scales` and `x.biases`, and an
/// element is `scale · code + bias`. MLX's scales may be negative, but packed ones may not. For a
/// negative scale the codes are mirrored, and the lower bound is `bias + scale · (2^bits − 1)` in
/// Float32. That is exact for 16-bit scales and biases unless they lie far apart; the report says
/// where it is not.
///
/// Rows that `export` padded get back the lengths recorded in its metadata.
struct MLXImporter {
  private let defaults: Settings?
  private let modules: [String: Settings]

  struct Settings: Hashable, Sendable {
    var bitWidth: Int
    var groupSize: Int
  }

  /// - Parameter config: the content of `config.json`.
  /// - Throws: `ModelError` when it describes no affine quantization.
  init(config: JSONValue) throws {
    var config = try JSONObjectReader(config, path: "config")
    var members = try config.require("quantization", config.object("quantization") { $0 })
    defaults = try Self.settings(&members, defaults: nil)
    var modules: [String: Settings] = [:]
    for (path, value) in members.remaining {
      // `false` marks a module that is not quantized; other scalars do not describe modules.
      guard case .object = value else { continue }
      var module = try JSONObjectReader(value, path: members.path(of: path))
      modules[path] = try Self.settings(&module, defaults: defaults)
    }
    self.modules = modules
  }

  private static func settings(
    _ members: inout JSONObjectReader, defaults: Settings?
  ) throws -> Settings? {
    let mode = try members.string("mode") ?? "affine"
    guard mode == "affine" else {
      throw ModelError.unsupported(
        "\(members.path) has the mode '\(mode)'; only 'affine' is supported")
    }
    let bits = try members.integer("bits") ?? defaults?.bitWidth
    let groupSize = try members.integer("group_size") ?? defaults?.groupSize
    guard let bits, let groupSize else { return nil }
    guard MLXForm.bitWidths.contains(bits), MLXForm.groupSizes.contains(groupSize) else {
      throw ModelError.unsupported(
        "\(members.path) has \(bits) bits in groups of \(groupSize), which MLX's affine mode "
          + "does not support")
    }
    return Settings(bitWidth: bits, groupSize: groupSize)
  }

  /// - Parameter columnsBeforePadding: the original row lengths of weights whose rows were padded.
  func matrices(
    of archive: TensorArchive, columnsBeforePadding: [String: Int]
  ) throws -> [ImportedMatrix] {
    try archive.tensors.keys.filter { $0.hasSuffix(".scales") }.compactMap { scalesName in
      let path = String(scalesName.dropLast(".scales".count))
      guard archive.tensors["\(path).weight"]?.elementType == .uint32 else { return nil }
      return try matrix(
        path, of: archive, columnsBeforePadding: columnsBeforePadding["\(path).weight"])
    }
  }

  /// Plans one module without reading any weight.
  func matrix(
    _ path: String, of archive: TensorArchive, columnsBeforePadding: Int?
  ) throws -> ImportedMatrix {
    let floats: Set<ElementType> = [.float16, .bfloat16, .float32]
    let weight = try archive.require("\(path).weight", [.uint32], rank: 2)
    let scales = try archive.require("\(path).scales", floats, rank: 2)
    let biases = try archive.require("\(path).biases", [scales.elementType], rank: 2)
    guard let settings = modules[path] ?? defaults else {
      throw ModelError.mismatch(
        expected: "bits and a group size in the configuration", found: "none",
        tensor: "\(path).weight")
    }
    let (rows, groups) = (weight.shape.dimensions[0], scales.shape.dimensions[1])
    let (stored, overflow) = groups.multipliedReportingOverflow(by: settings.groupSize)
    guard !overflow, scales.shape.dimensions[0] == rows, biases.shape == scales.shape,
      weight.shape.dimensions[1].multipliedReportingOverflow(by: 32)
        == stored.multipliedReportingOverflow(by: settings.bitWidth)
    else {
      throw ModelError.mismatch(
        expected: "shapes of \(settings.bitWidth) bits in groups of \(settings.groupSize)",
        found: "\(weight.shape), scales \(scales.shape) and biases \(biases.shape)",
        tensor: "\(path).weight")
    }
    let columns = columnsBeforePadding ?? stored
    // Padding only completes the last group.
    guard columns <= stored, columns > stored - settings.groupSize else {
      throw ModelError.mismatch(
        expected: "rows padded to \(stored) elements",
        found: "\(columns) elements before padding in '\(ExportDescription.key)'",
        tensor: "\(path).weight")
    }
    let layout = try locatingErrors(tensor: "\(path).weight") {
      try AffineLayout(
        rows: rows, columns: columns, granularity: .group(settings.groupSize))
    }
    guard let shape = Shape([rows, columns]) else {
      throw ModelError.malformed("it has too many elements", tensor: "\(path).weight")
    }
    let load: @Sendable () throws -> ImportedMatrix.Loaded = {
      try Self.load(
        weight, scales.floatValues(), biases.floatValues(), layout, storedColumns: stored,
        settings, scales.elementType, shape)
    }
    return ImportedMatrix(
      name: "\(path).weight", parts: ["\(path).weight", "\(path).scales", "\(path).biases"],
      elementType: scales.elementType, shape: shape,
      spec: AffineSpec(layout: layout, bitWidth: settings.bitWidth),
      form: "MLX, \(settings.bitWidth) bits, groups of \(settings.groupSize)", load: load,
      values: { try load().values })
  }

  private static func load(
    _ weight: Tensor, _ scales: [Float], _ biases: [Float], _ layout: AffineLayout,
    storedColumns: Int, _ settings: Settings, _ elementType: ElementType, _ shape: Shape
  ) throws -> ImportedMatrix.Loaded {
    // Rows have whole groups and thus whole words, so the matrix is one stream.
    let stored = try BitStream.unpackCodes(
      weight.bytes(), count: layout.rows * storedColumns, bitWidth: settings.bitWidth)
    let values = MLXForm.values(
      codes: stored, scales: scales, biases: biases, columns: layout.columns,
      paddedColumns: storedColumns, groupSize: settings.groupSize)
    var codes = stored
    if storedColumns > layout.columns {
      codes = (0..<layout.rows).flatMap { row in
        stored[row * storedColumns..<row * storedColumns + layout.columns]
      }
    }
    let maximum = UInt8(1 << settings.bitWidth - 1)
    var (lower, scale) = (biases, scales)
    for cell in scales.indices where scales[cell] < 0 {
      lower[cell] = biases[cell] + scales[cell] * Float(maximum)
      scale[cell] = -scales[cell]
      for element in layout.elements(ofCell: cell) { codes[element] = maximum - codes[element] }
    }
    return ImportedMatrix.Loaded(
      tensor: try QuantizedTensor(
        elementType: elementType, shape: shape,
        spec: AffineSpec(layout: layout, bitWidth: settings.bitWidth, parameterType: .float32),
        lower: lower, scale: scale,
        codes: BitStream.pack(codes, bitWidth: settings.bitWidth)),
      values: values.map(elementType.rounded))
  }
}

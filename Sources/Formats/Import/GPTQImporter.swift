/// Finds the quantized modules of a GPTQ checkpoint, in the layouts of AutoGPTQ (v1) and GPTQModel
/// (v2).
///
/// A module `x` has `x.qweight` (`int32` `[in · bits / 32, out]`: codes low bits first down each
/// column), `x.qzeros` (`int32` `[groups, out · bits / 32]`: along each row), `x.scales`
/// (`[groups, out]`) and `x.g_idx` (the group of each input). An element of `x.weight` (`[out, in]`)
/// is `scale · (code − zero)`; v1 stores `zero − 1`. The lower bound is `−scale · zero`, which Float32
/// holds exactly for scales in 16 bits.
struct GPTQImporter {
  private let bitWidth: Int
  /// `nil` for one group a row.
  private let groupSize: Int?
  /// What is added to stored zero points.
  private let zeroOffset: Int

  static let bitWidths = [2, 3, 4, 8]

  /// - Parameter config: the text of `quantize_config.json`, or of a `config.json` that has it under
  ///   `quantization_config`.
  init(config: JSONValue) throws {
    var members = try JSONMembers(config, subject: "the configuration")
    if let nested = members.take("quantization_config") {
      members = try JSONMembers(nested, subject: "'quantization_config'")
    }
    bitWidth = try members.require("bits", members.takeInteger("bits"))
    guard Self.bitWidths.contains(bitWidth) else {
      throw FormatError.unsupported("GPTQ codes of \(bitWidth) bits; 2, 3, 4 and 8 are supported")
    }
    let size = try members.require("group_size", members.takeInteger("group_size"))
    guard size > 0 || size == -1 else {
      throw FormatError.malformed("'group_size' is \(size)")
    }
    groupSize = size == -1 ? nil : size
    let format = try members.takeString("checkpoint_format") ?? "gptq"
    switch format {
    case "gptq": zeroOffset = 1
    case "gptq_v2": zeroOffset = 0
    default:
      throw FormatError.unsupported(
        "the checkpoint format '\(format)'; 'gptq' and 'gptq_v2' are supported")
    }
    if case .object(let rules)? = members.take("dynamic"), !rules.isEmpty {
      throw FormatError.unsupported("modules with settings of their own ('dynamic')")
    }
  }

  func matrices(of archive: TensorArchive) throws -> [ImportedMatrix] {
    try archive.tensors.keys.filter { $0 == "qweight" || $0.hasSuffix(".qweight") }
      .map { try matrix(String($0.dropLast("qweight".count)), of: archive) }
  }

  /// - Parameter prefix: of the module's tensors, with its dot.
  private func matrix(_ prefix: String, of archive: TensorArchive) throws -> ImportedMatrix {
    let name = "\(prefix)qweight"
    let words: Set<ElementType> = [.int32, .uint32]
    let weight = try archive.require(name, words, rank: 2)
    let zeros = try archive.require("\(prefix)qzeros", words, rank: 2)
    let scales = try archive.require(
      "\(prefix)scales", [.float16, .bfloat16, .float32], rank: 2)
    let (bits, overflow) = weight.shape.dimensions[0].multipliedReportingOverflow(by: 32)
    let (inputs, outputs) = (bits / bitWidth, weight.shape.dimensions[1])
    let size = groupSize ?? max(1, inputs)
    let groups = inputs == 0 ? 0 : (inputs - 1) / size + 1
    guard !overflow, bits.isMultiple(of: bitWidth), let shape = Shape([outputs, inputs]),
      shape.elementCount > 0, scales.shape.dimensions == [groups, outputs],
      zeros.shape.dimensions[0] == groups,
      // A row of zero points fills its words.
      zeros.shape.dimensions[1].multipliedReportingOverflow(by: 32)
        == outputs.multipliedReportingOverflow(by: bitWidth)
    else {
      throw FormatError.mismatch(
        expected: "shapes of \(bitWidth) bits in groups of \(size)",
        found: "\(weight.shape), qzeros \(zeros.shape) and scales \(scales.shape)", tensor: name)
    }
    var parts: Set = [name, "\(prefix)qzeros", "\(prefix)scales"]
    let order = archive.tensors["\(prefix)g_idx"]
    if let order {
      parts.insert("\(prefix)g_idx")
      guard order.elementType.isInteger, order.shape.dimensions == [inputs] else {
        throw FormatError.mismatch(
          expected: "the groups of \(inputs) inputs",
          found: "\(order.elementType) \(order.shape)", tensor: "\(prefix)g_idx")
      }
    }
    let layout = try locatingErrors(tensor: name) {
      try AffineLayout(
        rows: outputs, columns: inputs, granularity: groups == 1 ? .channel : .group(size))
    }
    let module = Module(
      weight: weight, zeros: zeros, scales: scales, order: order, layout: layout, shape: shape,
      groupSize: size, name: name)
    return ImportedMatrix(
      name: "\(prefix)weight", parts: parts, elementType: scales.elementType, shape: shape,
      layout: layout, bitWidth: bitWidth,
      form: "GPTQ, \(bitWidth) bits, groups of \(size)"
    ) { try load(module) }
  }

  private struct Module: Sendable {
    let weight: Tensor
    let zeros: Tensor
    let scales: Tensor
    let order: Tensor?
    let layout: AffineLayout
    let shape: Shape
    let groupSize: Int
    let name: String
  }

  private func load(_ module: Module) throws -> ImportedMatrix.Loaded {
    let (outputs, inputs) = (module.layout.rows, module.layout.columns)
    let groups = (inputs - 1) / module.groupSize + 1
    if let order = try module.order?.doubleValues() {
      for (input, group) in order.enumerated() where group != Double(input / module.groupSize) {
        throw FormatError.unsupported(
          "inputs in the order of their activations (desc_act): input \(input) is in group "
            + "\(Int(exactly: group).map(String.init) ?? "\(group)"); packed groups are neighbours",
          tensor: module.name)
      }
    }
    let zeros = try BitStream.unpackCodes(
      module.zeros.bytes(), count: groups * outputs, bitWidth: bitWidth)
    let scales = try module.scales.floatValues()
    let codes = try columns(of: module.weight, count: inputs)
    var lower: [Float] = []
    var scale: [Float] = []
    var values = [Float](repeating: 0, count: codes.count)
    for output in 0..<outputs {
      for group in 0..<groups {
        let zero = Float(Int(zeros[group * outputs + output]) + zeroOffset)
        let step = scales[group * outputs + output]
        lower.append(-(step * zero))
        scale.append(step)
        let end = min(inputs, (group + 1) * module.groupSize)
        for element in output * inputs + group * module.groupSize..<output * inputs + end {
          values[element] = module.scales.elementType.rounded(step * (Float(codes[element]) - zero))
        }
      }
    }
    return ImportedMatrix.Loaded(
      tensor: try QuantizedTensor(
        elementType: module.scales.elementType, shape: module.shape, layout: module.layout,
        bitWidth: bitWidth, parameterType: .float32, lower: lower, scale: scale,
        codes: BitStream.pack(codes, bitWidth: bitWidth)),
      values: values)
  }

  /// The codes of each column of words, one column after the other: `[out, in]`.
  private func columns(of weight: Tensor, count: Int) throws -> [UInt8] {
    let (rows, columns) = (weight.shape.dimensions[0], weight.shape.dimensions[1])
    let words = try weight.bytes()
    var codes: [UInt8] = []
    codes.reserveCapacity(columns * count)
    for column in 0..<columns {
      let stream = SharedBytes(count: rows * 4) { output in
        words.withUnsafeBytes { input in
          for row in 0..<rows {
            let word = input.loadUnaligned(
              fromByteOffset: (row * columns + column) * 4, as: UInt32.self)
            output.storeBytes(of: word, toByteOffset: row * 4, as: UInt32.self)
          }
        }
      }
      codes += try BitStream.unpackCodes(stream, count: count, bitWidth: bitWidth)
    }
    return codes
  }
}

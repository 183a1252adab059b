import Foundation
import OrderedCollections
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Weights stored as several tensors, compared with the values that the programs that wrote them
/// compute (`generate_logical.py`).
@Suite struct LogicalTests {
  private func folder(_ name: String) throws -> (archive: TensorArchive, values: TensorArchive) {
    let file = name == "torch" ? "model.pth" : "model.safetensors"
    return (
      try FormatRegistry.standard.open(PackageFolder.fixture("logical/\(name)/\(file)")),
      try FormatRegistry.standard.open(PackageFolder.fixture("logical/\(name)/values.safetensors"))
    )
  }

  @Test(arguments: [
    ("fp8", 0), ("fp8_128", 0), ("bitsandbytes", 0), ("awq", 0), ("compressed", 0),
    ("microscaling", 0), ("torch", 6e-8),
  ])
  func assembledWeightsMatchTheirPrograms(_ name: String, _ tolerance: Double) throws {
    let (archive, values) = try folder(name)
    let assembled = archive.assembled()
    for (name, expected) in values.tensors {
      let tensor = try #require(assembled.tensors[name], "\(name)")
      #expect(tensor.shape == expected.shape, "\(name)")
      let found = try zip(tensor.doubleValues(), expected.doubleValues())
      for (value, reference) in found {
        #expect(value.isNaN == reference.isNaN && !(abs(value - reference) > tolerance), "\(name)")
      }
      let group = try #require(assembled.groups.first { $0.name == name })
      #expect(group.isAssembled && group.obstacle == nil)
      for part in group.parts where part != name {
        #expect(assembled.tensors[part] == nil && archive.tensors[part] != nil)
      }
      #expect(
        assembled.storedByteCounts[name]
          == group.parts.reduce(0) { $0 + (archive.tensors[$1]?.byteCount ?? 0) })
    }
    // Tensors outside every group keep their bytes.
    let parts = Set(assembled.groups.filter(\.isAssembled).flatMap(\.parts))
    for (name, tensor) in archive.tensors where !parts.contains(name) {
      let kept = try #require(assembled.tensors[name])
      #expect(try kept.bytes().elementsEqual(tensor.bytes()))
    }
  }

  @Test(arguments: [
    ("fp8", "blocks.weight", "float8_e4m3fn codes times scales, one for each block of 16×16"),
    ("fp8", "comfy.weight", "float8_e4m3fn codes times scales, one for the whole tensor"),
    ("fp8", "experts.weight", "float8_e4m3fn codes times scales, one for each row"),
    ("fp8", "integers.weight", "int8 codes less zero points times scales, one for each row"),
    ("fp8", "bnb.weight", "int8 codes times scales / 127, one for each row"),
    ("fp8", "plain.weight", "unscaled float8_e4m3fn codes, read as plain numbers"),
    ("fp8_128", "edge.weight", "float8_e4m3fn codes times scales, one for each block of 128×8"),
    (
      "torch", "kernel_1.weight",
      "weight-norm pair, one length along axis 1, weight = length · direction / norm of the direction"
    ),
    ("microscaling", "experts.down_proj", "dequantized from MXFP4, blocks of 32"),
  ])
  func groupRuleDescribesComposition(_ folder: String, _ name: String, _ rule: String) throws {
    let group = try self.folder(folder).archive.assembled().groups.first { $0.name == name }
    #expect(group?.rule == rule)
    #expect(group?.obstacle == nil)
  }

  @Test(arguments: [
    (
      "fp8_128", "open.weight",
      "the shapes [60, 8] and [2, 1] do not determine the block length of a scale, from 30 to 59; "
        + "'weight_block_size' in a config.json beside the file does"
    ),
    ("fp8_128", "orphan.weight", "'orphan.weight' is float32"),
    ("halves", "a.weight", "'a.weight_g' is missing"),
    (
      "torch", "orthogonal.weight",
      "the file does not say by which function; 'remove_parametrizations' before saving puts the tensor "
        + "in its place"
    ),
  ])
  func unassembledTensorsStay(
    _ folder: String, _ name: String, _ obstacle: String
  ) throws {
    let archive = try self.folder(folder).archive
    let assembled = archive.assembled()
    let group = try #require(assembled.groups.first { $0.name == name })
    #expect(group.obstacle == obstacle)
    #expect(group.parts.allSatisfy { assembled.tensors[$0] != nil })
  }

  @Test func activationScalesAreKeptAndNoted() throws {
    let assembled = try folder("fp8").archive.assembled()
    #expect(assembled.tensors["comfy.scale_input"] != nil)
    #expect(assembled.tensors["scaled_fp8"] == nil)
    #expect(
      assembled.groups.first { $0.name == "comfy.weight" }?.remark
        == "scales of activations beside it are kept as they are")
  }

  @Test func selectedPartKeepsItsGroups() throws {
    let part = try folder("torch").archive.assembled().selecting(root: "linear")
    #expect(Array(part.tensors.keys) == ["bias", "weight"])
    #expect(part.groups.map(\.parts) == [["weight_v", "weight_g"]])
    #expect(part.isWholeStateDictionary)
    guard case .dictionary(let entries, _) = try folder("torch").archive.assembled().structure
    else {
      Issue.record("the structure is lost")
      return
    }
    #expect(
      entries.contains { $0.key == .text("linear.weight") && $0.value == .leaf("linear.weight") })
    #expect(!entries.contains { $0.key == .text("linear.weight_v") })
  }

  @Test func packedHeaderRecordsWholeStateDictionary() throws {
    var header = PackedHeader(producer: "tests")
    header.source = try PackedHeader.Source(folder("torch").archive, root: nil)
    #expect(header.source?.isWholeState == true)
    #expect(try PackedHeader(parsing: header.json).source == header.source)
    header.source = try PackedHeader.Source(folder("fp8").archive.assembled(), root: nil)
    #expect(header.source?.isWholeState == false)
    // The byte count is that of the stored tensors.
    #expect(try header.source?.tensorByteCount == folder("fp8").archive.tensorByteCount)
  }

  // MARK: Scale layouts

  @Test(
    arguments: [
      ([256, 256], [2, 2], nil, false, [128, 128]), ([300, 200], [3, 2], nil, true, [128, 128]),
      ([300, 64], [3, 2], [100, 32], false, [100, 32]), ([8, 64], [8, 2], nil, false, [1, 32]),
      ([8, 6], [8], nil, false, [1, 6]), ([8, 6], [1, 1], nil, false, [8, 6]),
      ([8, 6], [], nil, false, [8, 6]), ([576, 64], [5, 1], nil, false, [128, 64]),
      ([4, 8, 64], [4, 1, 1], nil, false, [1, 8, 64]), ([12, 4], [4, 1], nil, false, [3, 4]),
      ([4, 8, 3, 3], [4, 1], nil, false, [1, 8, 3, 3]), ([6, 5], [6, 1, 1], nil, false, [1, 5]),
    ] as [([Int], [Int], [Int]?, Bool, [Int])])
  func blocksAreDerivedFromShapes(
    _ codes: [Int], _ scale: [Int], _ configured: [Int]?, _ prefers128: Bool, _ blocks: [Int]
  ) throws {
    let layout = try ScaleLayout(
      codes: #require(Shape(codes)), scale: #require(Shape(scale)), configured: configured,
      prefers128: prefers128)
    #expect(layout.blocks == blocks)
    var seen = [Bool](repeating: false, count: codes.reduce(1, *))
    layout.forEachRun { elements, place in
      for element in elements {
        var (rest, expected, stride) = (element, 0, 1)
        for axis in codes.indices.reversed() {
          expected += rest % codes[axis] / blocks[axis] * stride
          stride *= layout.counts[axis]
          rest /= codes[axis]
        }
        if seen[element] || expected != place {
          Issue.record("element \(element) has another scale")
        }
        seen[element] = true
      }
    }
    #expect(seen.allSatisfy { $0 })
  }

  @Test(
    arguments: [
      ([60, 8], [2, 1], nil, true), ([300, 8], [3, 1], nil, false), ([8, 6], [6], nil, false),
      ([8, 6], [9, 1], nil, false), ([8, 6], [2], nil, false),
      ([64, 64], [4, 4], [32, 32], false),
      ([8, 16, 16], [2, 2], nil, false), ([8, 6], [8, 1, 2], nil, false),
    ] as [([Int], [Int], [Int]?, Bool)])
  func ambiguousBlockShapesAreRefused(
    _ codes: [Int], _ scale: [Int], _ configured: [Int]?, _ prefers128: Bool
  ) throws {
    let shapes = try (#require(Shape(codes)), #require(Shape(scale)))
    #expect(throws: ModelError.self) {
      try ScaleLayout(
        codes: shapes.0, scale: shapes.1, configured: configured, prefers128: prefers128)
    }
  }

  // MARK: GPTQ and MLX

  private func json(_ text: String) throws -> JSONValue {
    try JSONDocument.parse(SharedBytes(text.utf8))
  }

  /// The values are exactly those that importing gives.
  @Test(arguments: ["gptq-2", "gptq-3", "gptq-4", "gptq-8", "gptq_v2-4"])
  func gptqDecodesAsInImport(_ name: String) throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/\(name)/model.safetensors"))
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/\(name)/values.safetensors"))
    let assembled = archive.assembled()
    let tensor = try #require(assembled.tensors["fc.weight"])
    let expected = try #require(values.tensors["fc.weight"])
    #expect(tensor.elementType == expected.elementType)
    #expect(try tensor.bytes().elementsEqual(expected.bytes()))
    #expect(assembled.groups.first?.remark?.contains("'sym' is false") == true)
  }

  @Test func mlxDecodesAsInMLX() throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/mlx/model.safetensors"))
    let values = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/mlx-values.safetensors"))
    let assembled = archive.assembled()
    for (name, expected) in values.tensors {
      let tensor = try #require(assembled.tensors[name])
      #expect(try largestDifference(tensor.floatValues(), expected.floatValues()) < 1e-7)
    }
    let alone = archive.assembled(configuration: .object([:]))
    #expect(alone.groups.allSatisfy { $0.kind == .mlx && $0.obstacle != nil })
  }

  /// A symmetric checkpoint whose zero points tell v1 from v2 whatever its label.
  @Test(
    arguments: [2, 3, 4, 8],
    [
      ("gptq", 1, nil), ("gptq_v2", 0, nil), ("gptq", 0, "read as v2's"),
      ("gptq_v2", 1, "read as v1's"), (nil, 1, nil), (nil, 0, "read as v2's"),
      ("none", 0, "they are v2's"), ("none", 1, "they are v1's"),
    ] as [(String?, Int, String?)])
  func symmetricZeroPointsDetermineVersion(_ bits: Int, _ label: (String?, Int, String?)) throws {
    let (format, offset, remark) = label
    var archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/gptq-\(bits)/model.safetensors"))
    let middle = 1 << (bits - 1)
    let shape = try #require(archive.tensors["fc.qzeros"]).shape
    let count = shape.elementCount * 32 / bits
    let zeros = [UInt8](repeating: UInt8(middle - offset), count: count)
    archive.tensors["fc.qzeros"] = try Tensor(
      elementType: .int32, shape: shape, bytes: BitStream.pack(zeros, bitWidth: bits))
    archive.sourceFiles = []
    let text =
      #"{"bits": \#(bits), "group_size": 32, "sym": true, "quant_method": "gptq""#
      + (format.map { #", "checkpoint_format": "\#($0)"}"# } ?? "}")
    let assembled = archive.assembled(configuration: format == "none" ? nil : try json(text))
    let group = try #require(assembled.groups.first { $0.kind == .gptq })
    #expect(group.obstacle == nil)
    #expect(group.remark == nil ? remark == nil : group.remark?.hasSuffix(remark ?? "?") == true)
    let found = try #require(assembled.tensors["fc.weight"]).doubleValues()
    let steps = try #require(archive.tensors["fc.scales"]).doubleValues()
    let outputs = try #require(assembled.tensors["fc.weight"]).shape.dimensions[0]
    // Every value is an integer multiple of the step, from −2^(bits − 1) to 2^(bits − 1) − 1.
    let multiples = found.enumerated().map { element, value in
      let (output, input) = (element / 96, element % 96)
      return (value / steps[input / 32 * outputs + output]).rounded()
    }
    #expect(multiples.min() == Double(-middle))
    #expect(multiples.max() == Double(middle - 1))
  }

  @Test func activationOrderedInputsAreDecoded() throws {
    let path = try PackageFolder.fixture("import/gptq-4/model.safetensors")
    var archive = try FormatRegistry.standard.open(path)
    let plain = try #require(archive.assembled().tensors["fc.weight"]).doubleValues()
    archive.tensors["fc.g_idx"] = try Tensor(
      elementType: .int32, shape: [96],
      bytes: SharedBytes(elementsOf: (0..<96).map { Int32(2 - $0 / 32) }))
    let reversed = try #require(archive.assembled().tensors["fc.weight"]).doubleValues()
    #expect(plain != reversed)
    #expect(zip(plain, reversed).enumerated().allSatisfy { $0 % 96 / 32 != 1 || $1.0 == $1.1 })
    archive.tensors["fc.g_idx"] = try Tensor(
      elementType: .int32, shape: [96],
      bytes: SharedBytes(elementsOf: [Int32](repeating: 7, count: 96)))
    let broken = try #require(archive.assembled().tensors["fc.weight"])
    #expect(throws: ModelError.self) { try broken.bytes() }
  }

  @Test(
    arguments: [
      (
        #"{"quantization_config": {"quant_method": "fp8"}}"#,
        "expected modules quantized by GPTQ, found none, and the configuration's 'quant_method' is 'fp8'; "
          + "'convert' assembles such weights and quantizes them anew"
      ),
      (#"{"bits": 4, "group_size": 32, "quant_method": "bitsandbytes"}"#, nil),
    ] as [(String, String?)])
  func otherQuantizationMethodsAreNamed(_ config: String, _ message: String?) throws {
    let error = #expect(throws: ModelError.self) {
      try ModelImport(TensorArchive(), from: .gptq, config: json(config))
    }
    if let message { #expect(error?.description == message) }
  }

  @Test func gptqLabelledAWQIsReadAsGPTQ() throws {
    let archive = try FormatRegistry.standard.open(
      PackageFolder.fixture("import/gptq-4/model.safetensors"))
    let config = try json(
      #"{"bits": 4, "group_size": 32, "sym": false, "quant_method": "awq", "zero_point": true}"#)
    let group = try #require(archive.assembled(configuration: config).groups.first)
    #expect(group.kind == .gptq)
    #expect(group.obstacle == nil)
    #expect(group.remark?.hasPrefix("the configuration's 'quant_method' is 'awq'") == true)
  }

  @Test func awqLabelledGPTQIsReadAsAWQ() throws {
    let (archive, values) = try folder("awq")
    let config = try json(
      #"{"bits": 4, "group_size": 32, "sym": true, "quant_method": "gptq"}"#)
    let assembled = archive.assembled(configuration: config)
    #expect(assembled.groups.map(\.kind) == [.awq])
    #expect(
      assembled.groups.first?.remark
        == "the configuration's 'quant_method' is 'gptq', but the shapes are AWQ's")
    let tensor = try #require(assembled.tensors["fc.weight"])
    #expect(try tensor.bytes().elementsEqual(#require(values.tensors["fc.weight"]).bytes()))
    let error = #expect(throws: ModelError.self) {
      try ModelImport(archive, from: .gptq, config: config)
    }
    #expect(
      error?.description
        == "tensor 'fc.qweight': the shapes are those of AWQ's layout, despite the configuration; "
        + "'convert' quantizes the weights anew")
  }

  // MARK: Adapters and hostile files

  @Test(arguments: [
    (["q.lora_A.weight", "q.lora_B.weight"], "q"),
    (["t.lora_up.weight", "t.lora_down.weight", "t.alpha"], "t"),
    (["u.hada_w1_a", "u.hada_w1_b", "u.hada_w2_a", "u.hada_w2_b", "u.alpha"], "u"),
    (["v.lokr_w1", "v.lokr_w2_a", "v.lokr_w2_b"], "v"),
    (["a.to_q_lora.up.weight", "a.to_q_lora.down.weight"], "a.to_q_lora"),
    (["p.to_q.lora.up.weight", "p.to_q.lora.down.weight"], "p.to_q"),
    (["m.q.lora_A.default.weight", "m.q.lora_B.default.weight"], "m.q"),
  ])
  func adapterFactorsAreGrouped(_ names: [String], _ base: String) throws {
    var archive = TensorArchive()
    for name in names + ["plain.weight"] {
      archive.tensors[name] = try Tensor(
        elementType: .float32, shape: [2, 2], bytes: SharedBytes(count: 16) { _ in })
    }
    let groups = archive.assembled().groups
    #expect(groups.map(\.name) == [base])
    #expect(groups.first.map { Set($0.parts) } == Set(names))
    #expect(
      groups.first?.obstacle == "differences to another model's weights; merge them into it first")
  }

  /// Tensors with the names of group members, but with shapes and types that no program writes.
  @Test(arguments: 0..<400)
  func arbitraryShapesAndTypesAreHandled(seed: Int) throws {
    var random = SplitMix(seed: UInt64(seed))
    let suffixes = [
      "qweight", "qzeros", "scales", "g_idx", "weight", "weight_scale", "weight_scale_inv",
      "weight_scale_2", "weight_packed", "weight_shape", "weight_global_scale", "biases", "SCB",
      "weight_format", "weight.absmax", "weight.quant_map", "weight.nested_absmax",
      "weight.nested_quant_map", "weight.quant_state.bitsandbytes__nf4", "weight_g", "weight_v",
      "weight_orig", "weight_u", "weight_mask", "parametrizations.weight.original0",
      "parametrizations.weight.original1", "parametrizations.weight.original",
      "parametrizations.weight.0._u", "parametrizations.weight.0._v", "e_blocks", "e_scales",
      "scale_weight", "weight_zero_point", "W_q", "scale", "lora_A.weight",
    ]
    let types: [ElementType] = [
      .int32, .uint32, .uint8, .int8, .float32, .float16, .float8E4M3FN, .float8E8M0FNU, .bool,
      .int64, .complex64,
    ]
    var archive = TensorArchive()
    for suffix in suffixes where random.next() % 3 > 0 {
      let rank = Int(random.next() % 4)
      let dimensions = (0..<rank).map { _ in [0, 1, 2, 3, 4, 8, 16, 32][Int(random.next() % 8)] }
      let shape = try #require(Shape(dimensions))
      let type = types[Int(random.next() % UInt64(types.count))]
      let count = try #require(type.byteCount(forElements: shape.elementCount))
      let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
      archive.tensors["x.\(suffix)"] = try Tensor(
        elementType: type, shape: shape, bytes: SharedBytes(bytes))
    }
    for config in [
      JSONValue.object([:]),
      .object(["bits": .integer(4), "group_size": .integer(32)]),
      .object(["quantization": .object(["bits": .integer(4), "group_size": .integer(32)])]),
    ] {
      let assembled = archive.assembled(configuration: config)
      for tensor in assembled.tensors.values where tensor.elementType != .complex64 {
        _ = try? tensor.doubleValues()
      }
      #expect(assembled.groups.allSatisfy { !$0.parts.isEmpty })
    }
  }
}

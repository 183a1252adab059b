import Foundation
import Testing

@testable import Formats

/// Objects that torch writes rarely or wrote long ago, as pickles of protocol 0 in an archive with
/// one storage of the floats 1 and 2.
@Suite struct PyTorchObjectTests {
  private static let arguments =
    "((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQI0\n(I2\nt(I1\ntI00\n"
    + "ccollections\nOrderedDict\n(tRt"
  private static let tensor = "ctorch._utils\n_rebuild_tensor_v2\n\(arguments)R"
  private static let noHooks = "ccollections\nOrderedDict\n(tR"

  private func read(_ pickle: String, byteOrder: String = "little") throws -> TensorArchive {
    let file = try ZipFiles.write { writer in
      writer.add("x/data.pkl", SharedBytes(Array(pickle.utf8)))
      writer.add("x/byteorder", SharedBytes(Array(byteOrder.utf8)))
      writer.add("x/data/0", SharedBytes(elementsOf: [Float(1), 2]))
      writer.add("x/version", SharedBytes(Array("3\n".utf8)))
    }
    return try PyTorchFixtures.load(file)
  }

  @Test(arguments: [
    tensor,
    "ctorch._utils\n_rebuild_tensor\n((Vstorage\nctorch.cuda\nFloatStorage\nV0\nVcuda:0\nI2\ntQ"
      + "I0\n(I2\nt(I1\nttR",
    "ctorch._utils\n_rebuild_parameter\n(\(tensor)I01\n\(noHooks)tR",
    "ctorch._utils\n_rebuild_parameter_with_state\n(\(tensor)I01\n\(noHooks)(dVfoo\nI3\nstR",
    "ctorch.nn.parameter\nParameter\n(\(tensor)I01\ntR",
    "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
      + "ctorch\nTensor\n\(arguments)(dVfoo\nI3\nstR",
  ])
  func everyWayToATensor(pickle: String) throws {
    let archive = try read("\(pickle).")
    let found = try #require(archive.tensors["tensor"])
    #expect(found.elementType == .float32)
    #expect(found.shape == [2])
    #expect(try found.bytes().elementsEqual(SharedBytes(elementsOf: [Float(1), 2])))
  }

  @Test(arguments: [
    (
      "ctorch._utils\n_rebuild_parameter_with_state\n(\(tensor)I01\n\(noHooks)(dVfoo\n\(tensor)stR",
      "tensors in the attributes of an object are not supported"
    ),
    ("ctorch\nFloatTensor\n(tR", "tensors made by calling 'torch.FloatTensor' are not supported"),
    (
      "ctorch._utils\n_rebuild_meta_tensor_no_storage\n(tR",
      "tensors without data (device 'meta') are not supported"
    ),
    ("ctorch._utils\n_rebuild_nested_tensor\n(tR", "a nested tensor is pickled in an unknown way"),
    (
      "ctorch._utils\n_rebuild_wrapper_subclass\n(tR",
      "tensor subclasses without data are not supported"
    ),
    (
      "ctorch._utils\n_rebuild_tensor_v2\n(tR",
      "'torch._utils._rebuild_tensor_v2' is called with 0 arguments"
    ),
    (
      "ctorch._utils\n_rebuild_tensor\n((Vstorage\nctorch\nQInt8Storage\nV0\nVcpu\nI8\ntQ"
        + "I0\n(I2\nt(I1\nttR",
      "storages of the class 'torch.QInt8Storage' are not supported"
    ),
    (
      "cmod\nWrapper\n(ctorch._utils\n_rebuild_qtensor\n(tRtR",
      "a quantized tensor is pickled in an unknown way"
    ),
    (
      "ccollections\nOrderedDict\n(I1\ntR", "a pickled dictionary is made of something that is none"
    ),
  ])
  func refusals(pickle: String, message: String) throws {
    let error = #expect(throws: FormatError.self) {
      try read("\(pickle).")
    }
    #expect(error?.problem.description == message)
  }

  @Test func refusalsNameTheTensor() throws {
    let pickle = "(dVlayer\n(dVweight\nctorch._utils\n_rebuild_qtensor\n(tRss."
    let error = #expect(throws: FormatError.self) { try read(pickle) }
    #expect(error?.tensor == "layer.weight")
    #expect(error?.problem == .malformed("a quantized tensor is pickled in an unknown way"))
  }

  @Test func lazilyNegatedTensorsAreNegated() throws {
    let arguments = Self.arguments.dropLast() + "(dVneg\nI01\nst"
    let archive = try read("ctorch._utils\n_rebuild_tensor_v2\n\(arguments)R.")
    let plain = try read("\(Self.tensor).").tensors["tensor"]?.floatValues()
    #expect(try archive.tensors["tensor"]?.floatValues() == plain?.map { -$0 })
  }

  @Test(arguments: [
    ("conj", "conjugated tensors of float32 are not supported"),
    ("other", "tensors with metadata of their own are not supported"),
  ])
  func metadataThatCannotBe(key: String, message: String) throws {
    let arguments = Self.arguments.dropLast() + "(dV\(key)\nI01\nst"
    let pickle = "ctorch._utils\n_rebuild_tensor_v2\n\(arguments)R."
    let error = #expect(throws: FormatError.self) { try read(pickle) }
    #expect(error?.problem.description == message)
  }

  @Test func subclassesOfTensorsAreReadAsTensors() throws {
    let pickle =
      "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
      + "cmod\nSubclass\n\(Self.arguments)NtR."
    let archive = try read(pickle)
    #expect(archive.tensors.keys == ["tensor"])
    #expect(archive.notes == ["tensors of the class 'mod.Subclass' are read as plain tensors"])
  }

  @Test func subclassesWithFunctionsOfTheirOwnAreOpaque() throws {
    let pickle =
      "(dVx\nctorch._tensor\n_rebuild_from_type_v2\n(cmod\nrebuild\ncmod\nSubclass\n"
      + "(\(Self.tensor)t(dVextra\nI7\nstRs."
    let archive = try read(pickle)
    #expect(archive.tensors.keys == ["x.__args__.0"])
    #expect(archive.values == ["x.extra": .integer(7)])
    #expect(archive.notes == ["treated 1 object of class 'mod.Subclass' as plain data"])
  }

  @Test func nestedTensorsAreReadAsTheirParts() throws {
    let part = Self.tensor
    let archive = try read(
      "(dVx\nctorch._utils\n_rebuild_nested_tensor\n(\(part)\(part)\(part)\(part)tRs.")
    #expect(
      Array(archive.tensors.keys) == ["x.buffer", "x.sizes", "x.strides", "x.storage_offsets"])
    #expect(
      archive.notes == ["nested tensors are read as their buffer, sizes, strides and offsets"])
  }

  @Test func bigEndianStoragesAreSwapped() throws {
    let archive = try read("\(Self.tensor).", byteOrder: "big")
    #expect(
      try archive.tensors["tensor"]?.bytes().array == [0x3F, 0x80, 0, 0, 0x40, 0, 0, 0])
  }

  @Test func oldDictionariesAreMadeOfPairs() throws {
    let archive = try read("ccollections\nOrderedDict\n((l(lVb\naI1\naa(lVa\naI2\naatR.")
    #expect(
      archive.structure
        == .dictionary(
          [.init(key: .text("b"), value: .leaf("b")), .init(key: .text("a"), value: .leaf("a"))],
          isOrdered: true))
    #expect(archive.values == ["b": .integer(1), "a": .integer(2)])
  }

  @Test func otherObjectsBecomeTheNearestValue() throws {
    let archive = try read(
      "(dVcounter\nccollections\nCounter\n((dVa\nI2\nstRsVset\nc__builtin__\nset\n(tRs"
        + "Vdevice\nctorch\ndevice\n(Vcuda\nI1\ntRsVdtype\nctorch\nfloat16\ns"
        + "Vbytes\nc__builtin__\nbytearray\n(tRsVsize\nctorch\nSize\n((I2\nttRs"
        + "Vlayout\nctorch.serialization\n_get_layout\n(Vtorch.strided\ntRs.")
    #expect(
      archive.values == [
        "counter.a": .integer(2), "device": .text("cuda:1"), "dtype": .text("torch.float16"),
        "bytes": .bytes([]), "size.0": .integer(2), "layout": .text("torch.strided"),
      ])
  }

  @Test func storagesOutsideTensorsAreTensors() throws {
    let archive = try read("(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQ.")
    let tensor = try #require(archive.tensors["tensor"])
    #expect(try tensor.bytes().elementsEqual(SharedBytes(elementsOf: [Float(1), 2])))
  }

  @Test func globalsAmongTheValuesAreTexts() throws {
    let archive = try read("ctorch\nTensor\n.")
    #expect(archive.values == ["value": .text("torch.Tensor")])
    #expect(archive.notes == ["classes and functions among the values are kept as their names"])
  }

  @Test func opaqueObjectsAreTheirParts() throws {
    // Attributes only; arguments only; items with attributes; a state that is no dictionary.
    let archive = try read(
      "(dVa\ncmod\nNet\n(tR(dVx\nI1\nsbsVb\ncmod\nColor\n(I2\ntRs"
        + "Vc\ncmod\nConfig\n(tRVk\nI3\ns(dVfrozen\nI01\nsbsVd\ncmod\nNet\n(tR(I4\ntbs.")
    #expect(
      archive.values == [
        "a.x": .integer(1), "b.0": .integer(2), "c.k": .integer(3),
        "c.__dict__.frozen": .boolean(true), "d.0": .integer(4),
      ])
    #expect(
      archive.notes == [
        "treated 2 objects of class 'mod.Net' as plain data",
        "treated 1 object of class 'mod.Color' as plain data",
        "treated 1 object of class 'mod.Config' as plain data",
      ])
  }

  @Test func objectsMayReferToWhatHoldsThem() throws {
    // net = Net(); net.parent = [net]
    let archive = try read("cmod\nNet\n(tRp1\n(dVparent\n(lg1\nasVx\nI1\nsb.")
    #expect(archive.values == ["x": .integer(1)])
    #expect(
      archive.notes == [
        "treated 1 object of class 'mod.Net' as plain data",
        "'parent.0' refers back to an object that contains it; it is left empty",
      ])
  }

  @Test func modulesAreNamedAsTheirStateDict() throws {
    let hooks = "ccollections\nOrderedDict\n(tR"
    let inner =
      "cmod\nInner\n(tR(dV_parameters\n(dVweight\n\(Self.tensor)ssV_buffers\n\(hooks)s"
      + "V_modules\n\(hooks)sVtraining\nI00\nsb"
    let archive = try read(
      "cmod\nOuter\n(tR(dVtraining\nI01\nsV_buffers\n(dVsteps\n\(Self.tensor)ssV_parameters\n(d"
        + "sV_modules\n(dVchild\n\(inner)ssb.")
    #expect(Array(archive.tensors.keys) == ["steps", "child.weight"])
    #expect(archive.values == ["child.training": .boolean(false), "training": .boolean(true)])
  }

  @Test func tupleKeysBecomeTexts() throws {
    let archive = try read("(d(I1\nVa\ntI3\ns(I2\ntI4\ns.")
    #expect(archive.values == ["(1, 'a')": .integer(3), "(2,)": .integer(4)])
  }

  @Test func constantsOfTorchScriptMustNotCollide() throws {
    let file = try ZipFiles.write { writer in
      writer.add(
        "x/data.pkl",
        SharedBytes(
          Array(
            "c__torch__\nM\n)\u{81}(dVCONSTANTS\n(dVc0\nI1\nssb.".unicodeScalars.map {
              UInt8($0.value)
            })))
      writer.add("x/constants.pkl", SharedBytes(Array("(I2\nt.".utf8)))
      writer.add("x/code/a.py", SharedBytes(Array("pass".utf8)))
    }
    #expect(
      throws: FormatError.malformed(
        "an attribute and a constant have this name", path: file.path, tensor: "CONSTANTS.c0")
    ) { try PyTorchFormat().read(file) }
  }

  @Test func torchScriptSaysThatItsProgramIsNotRead() throws {
    let archive = try PyTorchFixtures.read("torch/torchscript_constants.pt")
    #expect(archive.tensors.keys == ["CONSTANTS.c0"])
    #expect(archive.notes == ["the program of this TorchScript archive (1 files) is not read"])
  }
}

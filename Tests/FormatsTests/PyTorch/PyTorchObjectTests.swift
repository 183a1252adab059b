import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Objects that torch writes rarely or wrote long ago, as protocol 0 pickles in an archive with one
/// storage of the floats 1 and 2.
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
  func everyTensorConstructorIsRead(pickle: String) throws {
    let archive = try read("\(pickle).")
    let found = try #require(archive.tensors["tensor"])
    #expect(found.elementType == .float32)
    #expect(found.shape == [2])
    #expect(try found.bytes().elementsEqual(SharedBytes(elementsOf: [Float(1), 2])))
  }

  /// An unreadable object does not cost the tensor beside it.
  @Test(arguments: [
    (
      "ctorch\nFloatTensor\n(tR", "torch.FloatTensor",
      "tensors made by calling 'torch.FloatTensor' are not supported"
    ),
    (
      "ctorch._utils\n_rebuild_meta_tensor_no_storage\n(tR", "torch.Tensor",
      "it has no data (device 'meta'); load the weights into the model before saving it"
    ),
    (
      "ctorch._utils\n_rebuild_nested_tensor\n(tR", "torch.Tensor",
      "a nested tensor is pickled in an unknown way"
    ),
    (
      "ctorch._utils\n_rebuild_wrapper_subclass\n(tR", "torch.Tensor",
      "a tensor of a subclass that the file does not name"
    ),
    (
      "ctorch._utils\n_rebuild_tensor_v2\n(tR", "torch.Tensor",
      "'torch._utils._rebuild_tensor_v2' is called with 0 arguments"
    ),
    (
      "ctorch._utils\n_rebuild_tensor\n((Vstorage\nctorch\nQInt8Storage\nV0\nVcpu\nI8\ntQ"
        + "I0\n(I2\nt(I1\nttR", "torch.Tensor",
      "storages of the class 'torch.QInt8Storage' are not supported"
    ),
    (
      "ctorch._utils\n_rebuild_qtensor\n(tR", "torch.Tensor",
      "a quantized tensor is pickled in an unknown way"
    ),
    (
      "ctorch._utils\n_rebuild_tensor_v2\n\(arguments.dropLast())(dVconj\nI01\nstR", "torch.Tensor",
      "conjugated tensors of float32 are not supported"
    ),
    (
      "ctorch._utils\n_rebuild_tensor_v2\n\(arguments.dropLast())(dVother\nI01\nstR",
      "torch.Tensor", "tensors with their own metadata are not supported"
    ),
  ])
  func unreadableObjectsAreListed(pickle: String, kind: String, reason: String) throws {
    for (layer, name, place) in [
      ("(dVx\n\(pickle)s", "layer.x", ArchiveStructure.dictionary([], isOrdered: false)),
      ("(l\(pickle)a", "layer.0", .list([.unread("layer.0")])),
    ] {
      let archive = try read("(dVlayer\n\(layer)sVw\n\(Self.tensor)s.")
      #expect(archive.tensors.keys == ["w"])
      #expect(archive.unread == [UnreadEntry(name: name, kind: kind, reason: reason)])
      // The rest is written without the unreadable object.
      let again = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
      #expect(again.tensors.keys == ["w"])
      guard case .dictionary(let entries, _)? = again.structure, let first = entries.first else {
        Issue.record("the structure is no dictionary")
        continue
      }
      if case .list = place {
        #expect(first.value == .list([.leaf("layer.0")]))
        #expect(again.values == ["layer.0": ArchiveValue.none])
      } else {
        #expect(first.value == place)
      }
    }
  }

  @Test func damagedObjectsAreErrors() throws {
    let error = #expect(throws: ModelError.self) {
      try read("ccollections\nOrderedDict\n(I1\ntR.")
    }
    #expect(
      error?.problem
        == .malformed("a pickled dictionary is made of something that is not a dictionary"))
    #expect(throws: ModelError.self) {
      try read("(dVx\n\(Self.tensor.replacing("V0\n", with: "V7\n"))s.")
    }
  }

  /// Parts that were read before the obstacle was met do not stay without a place in the structure.
  @Test func partsOfUnreadableObjectsAreDropped() throws {
    let sparse =
      "ctorch._utils\n_rebuild_sparse_tensor\n(ctorch.serialization\n_get_layout\n"
      + "(Vtorch.sparse_coo\ntR(\(Self.tensor)ctorch\nFloatTensor\n(tR(I2\ntttR"
    let archive = try read("(dVx\n\(sparse)sVw\n\(Self.tensor)s.")
    #expect(archive.tensors.keys.contains("w"))
    #expect(archive.unread.map(\.name) == ["x.values"])
    _ = try PyTorchFixtures.rewrite(archive)
  }

  /// Functions and classes of a notebook, as cloudpickle writes them.
  @Test func functionsDefinedInFileAreKeptAsNames() throws {
    let function =
      "ccloudpickle.cloudpickle\n_make_function\n(ccloudpickle.cloudpickle\n_builtin_type\n"
      + "(VCodeType\ntR(I1\ntR(dtR"
    let instance =
      "ccloudpickle.cloudpickle\n_make_skeleton_class\n(c__builtin__\ntype\nVNet\n(t(dtR"
    let archive = try read(
      "(dVf\n\(function)sVc\n\(instance)sVnet\n\(instance)(tR(dVw\n\(Self.tensor)sbs.")
    #expect(archive.tensors.keys == ["net.w"])
    #expect(archive.values == ["f": .text("a function"), "c": .text("Net")])
    #expect(
      archive.notes == [
        "treated 1 object of class 'Net' as plain data",
        "functions and classes that the file defines itself are left out",
      ])
  }

  @Test func lazilyNegatedTensorsAreNegated() throws {
    let arguments = Self.arguments.dropLast() + "(dVneg\nI01\nst"
    let archive = try read("ctorch._utils\n_rebuild_tensor_v2\n\(arguments)R.")
    let plain = try read("\(Self.tensor).").tensors["tensor"]?.floatValues()
    #expect(try archive.tensors["tensor"]?.floatValues() == plain?.map { -$0 })
  }

  @Test func tensorSubclassesAreReadAsTensors() throws {
    let pickle =
      "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
      + "cmod\nSubclass\n\(Self.arguments)NtR."
    let archive = try read(pickle)
    #expect(archive.tensors.keys == ["tensor"])
    #expect(archive.notes == ["tensors of the class 'mod.Subclass' are read as plain tensors"])
  }

  @Test func subclassesWithTheirOwnFunctionsAreOpaque() throws {
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

  @Test func oldDictionariesAreReadFromPairs() throws {
    let archive = try read("ccollections\nOrderedDict\n((l(lVb\naI1\naa(lVa\naI2\naatR.")
    #expect(
      archive.structure
        == .dictionary(
          [.init(key: .text("b"), value: .leaf("b")), .init(key: .text("a"), value: .leaf("a"))],
          isOrdered: true))
    #expect(archive.values == ["b": .integer(1), "a": .integer(2)])
  }

  @Test func otherObjectsBecomeNearestValue() throws {
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

  @Test func storagesOutsideTensorsAreReadAsTensors() throws {
    let archive = try read("(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQ.")
    let tensor = try #require(archive.tensors["tensor"])
    #expect(try tensor.bytes().elementsEqual(SharedBytes(elementsOf: [Float(1), 2])))
  }

  @Test func globalsAmongValuesAreReadAsTexts() throws {
    let archive = try read("ctorch\nTensor\n.")
    #expect(archive.values == ["value": .text("torch.Tensor")])
    #expect(archive.notes == ["classes and functions among the values are kept as their names"])
  }

  @Test func opaqueObjectsAreReadAsTheirParts() throws {
    // The objects have attributes only, arguments only, items with attributes, and a state that is
    // no dictionary.
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

  @Test func objectsMayReferToTheirContainers() throws {
    // net = Net(); net.parent = [net]
    let archive = try read("cmod\nNet\n(tRp1\n(dVparent\n(lg1\nasVx\nI1\nsb.")
    #expect(archive.values == ["x": .integer(1)])
    #expect(
      archive.notes == [
        "treated 1 object of class 'mod.Net' as plain data",
        "'parent.0' refers back to an object that contains it; it is left empty",
      ])
  }

  @Test func modulesAreNamedLikeTheirStateDict() throws {
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

  @Test func collidingTorchScriptConstantsAreRefused() throws {
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
      throws: ModelError.malformed(
        "an attribute and a constant have this name", path: file.path, tensor: "CONSTANTS.c0")
    ) { try PyTorchFormat().read(file) }
  }

  @Test func torchScriptNotesThatProgramIsNotRead() throws {
    let archive = try PyTorchFixtures.read("torch/torchscript_constants.pt")
    #expect(archive.tensors.keys == ["CONSTANTS.c0"])
    #expect(archive.notes == ["the program of this TorchScript archive (1 file) is not read"])
  }
}

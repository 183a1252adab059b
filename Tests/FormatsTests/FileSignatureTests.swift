import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Files of other programs are identified, with advice on how to proceed.
@Suite struct FileSignatureTests {
  private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

  private static let pointer = """
    version https://git-lfs.github.com/spec/v1
    oid sha256:\(String(repeating: "0", count: 64))
    size 4370000

    """

  private struct Case: Sendable {
    let bytes: [UInt8]
    let name: String
    let found: String
    let advice: String

    init(
      _ parts: [UInt8]..., named name: String = "a", is found: String, then advice: String = ""
    ) {
      bytes = parts.flatMap(\.self)
      self.name = name
      self.found = found
      self.advice = advice
    }
  }

  private static func deflated(_ parts: [UInt8]...) -> [UInt8] {
    Zlib.compress(SharedBytes(parts.flatMap(\.self)))
  }

  /// Returns a length-delimited field of a protobuf message.
  private static func field(_ number: UInt8, _ parts: [UInt8]...) -> [UInt8] {
    let content: [UInt8] = parts.flatMap(\.self)
    let tag = UInt64(number) << 3 | 2
    let bytes = tag < 128 ? [UInt8(tag)] : [UInt8(tag & 0x7F) | 0x80, UInt8(tag >> 7)]
    return bytes + [UInt8(content.count)] + content
  }

  private static let cases: [Case] = [
    Case(
      text(pointer), named: "a.bin",
      is: "a Git LFS pointer, which stands for a file of 4370000 bytes",
      then: "git lfs pull"),
    Case([28, 0, 0, 0], text("TFL3"), is: "a TensorFlow Lite model", then: "tf2onnx"),
    Case(
      [8, 1], field(2, field(1, field(4, text("serve")))), is: "a TensorFlow SavedModel",
      then: "tf2onnx"),
    Case(
      field(1, field(1, text("x")), field(2, text("Placeholder"))), is: "a TensorFlow graph",
      then: "tf2onnx"),
    Case([8, 4], field(2, field(1)), [0xA2, 0x1F, 0], is: "a Core ML model", then: "coremltools"),
    Case([0x81, 0xA6], text("params"), [0x80], is: "a MessagePack file", then: ""),
    Case([0x89], text("HDF\r\n\u{1A}\n"), is: "an HDF5 file", then: "h5py"),
    Case(
      [0x89], text("HDF\r\n\u{1A}\n keras_version"), is: "a Keras model in an HDF5 file",
      then: "h5py"),
    Case(text("lmgg"), is: "an old ggml model (before GGUF)", then: "GGUF"),
    Case(text("fmgg\u{1}"), is: "an old ggml model (GGMF", then: "GGUF"),
    Case(text("tjgg\u{3}"), is: "an old ggml model (GGJT", then: "GGUF"),
    Case(
      field(1, text("VGG")), field(100, field(1, text("conv1")), field(2, text("Convolution"))),
      is: "a Caffe model", then: "caffe"),
    Case(
      field(1, text("Net")), field(2, field(4, text("c")), [40, 4]), is: "a Caffe model",
      then: "caffe"),
    Case([24, 0, 0, 0, 1, 2], named: "a.mnn", is: "an MNN model", then: "ONNX"),
    Case(
      [0xDD, 0x85, 0x76, 0], named: "a.bin", is: "a binary ncnn network description", then: "ncnn"),
    Case(
      field(1, field(1, text("<unk>")), [0x15, 0, 0, 0, 0]), is: "a SentencePiece tokenizer",
      then: "not the model's weights"),
    Case([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0], is: "xz-compressed data", then: "decompress it"),
    Case(text("BZh91AY&SY"), is: "bzip2-compressed data", then: "decompress it"),
    Case([0x28, 0xB5, 0x2F, 0xFD], is: "zstd-compressed data", then: "decompress it"),
    Case([0x1F, 0x8B, 8], is: "gzip-compressed data", then: "decompress it"),
    Case(deflated(text("a text")), is: "zlib-compressed data", then: "decompress it"),
    Case(
      deflated([0x80, 4], text("joblib.numpy_pickle")), is: "a joblib dump, zlib-compressed",
      then: "joblib"),
    Case([0x80, 4], text("joblib.numpy_pickle"), is: "a joblib dump", then: "audit"),
    Case(
      text("PK\u{3}\u{4}"), named: "__0_0.distcp",
      is: "one file of a distributed PyTorch checkpoint",
      then: "name its folder"),
    Case(text("<!doctype html>"), is: "a web page", then: "download it again"),
    Case([0x89], text("PNG"), is: "a PNG image"), Case(text("{}"), is: "a JSON text"),
  ]

  @Test(arguments: cases.indices)
  func foreignFilesAreIdentified(index: Int) throws {
    let sample = Self.cases[index]
    let file = InputFile(SharedBytes(sample.bytes), path: sample.name)
    let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.format(of: file) }
    guard case .unrecognizedFormat(let message)? = error?.problem else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(message.hasPrefix("it looks like \(sample.found)"), "\(message)")
    #expect(sample.advice.isEmpty || message.contains(sample.advice), "\(message)")
    #expect(!message.contains("\n"))
  }

  @Test func emptyFileIsReportedAsEmpty() throws {
    try withTemporaryFolder { folder in
      let path = folder.appending("empty")
      try Data().write(to: URL(filePath: path))
      #expect(throws: ModelError(.unrecognizedFormat(found: "the file is empty"), path: path)) {
        try FormatRegistry.standard.open(path)
      }
    }
  }

  @Test func ncnnWeightsAreIdentifiedByTheirDescription() throws {
    try withTemporaryFolder { folder in
      try Data("7767517\n1 1\n".utf8).write(to: URL(filePath: folder.appending("net.param")))
      let path = folder.appending("net.bin")
      try Data([0, 0, 0x80, 0x3F]).write(to: URL(filePath: path))
      let error = #expect(throws: ModelError.self) { try FormatRegistry.standard.open(path) }
      #expect(error.map { "\($0)".contains("the weights of an ncnn network") } ?? false)
    }
  }

  @Test(arguments: [
    (["saved_model.pb", "variables"], "a TensorFlow SavedModel"),
    ([".metadata", "__0_0.distcp"], "(DCP) with an unknown '.metadata'"),
    (["__0_0.distcp"], "without its '.metadata'"), (["Manifest.json", "Data"], "a Core ML model"),
    (["tf_model.h5"], "a folder of a Keras model in HDF5"), (["data.pkl", "data"], "unpacked"),
    (["notes.txt"], "neither a model file nor"), ([], "neither a model file nor"),
  ])
  func foreignFoldersAreIdentified(names: [String], message: String) throws {
    try withTemporaryFolder { folder in
      for name in names { try Data("x".utf8).write(to: URL(filePath: folder.appending(name))) }
      let error = #expect(throws: ModelError.self) {
        try FormatRegistry.standard.open(folder.path)
      }
      #expect(error.map { "\($0)".contains(message) } ?? false, "\(String(describing: error))")
    }
  }

  /// The only model in a folder is opened; a Git LFS pointer in its place is identified.
  @Test func onlyModelInFolderIsOpened() throws {
    try withTemporaryFolder { folder in
      let source = try PackageFolder.fixture("npz/stored.npz")
      for name in ["config.json", "README.md"] {
        try Data("{}".utf8).write(to: URL(filePath: folder.appending(name)))
      }
      let archive = try FormatRegistry.standard.open(source)
      for name in ["model.safetensors", "pytorch_model.bin"] {
        let format = try #require(FormatRegistry.standard.format(forOutput: name))
        var tensors = archive
        tensors.tensors = archive.tensors.filter { $0.value.elementType == .float32 }
        tensors.values = [:]
        try FormatRegistry.standard.write(tensors, as: format, to: folder.appending(name))
      }
      let opened = try FormatRegistry.standard.open(folder.path)
      #expect(opened.sourceFiles == [folder.appending("model.safetensors")])
      try FileManager.default.removeItem(atPath: folder.appending("model.safetensors"))
      #expect(
        try FormatRegistry.standard.open(folder.path).sourceFiles
          == [folder.appending("pytorch_model.bin")])
      try Data(Self.pointer.utf8).write(to: URL(filePath: folder.appending("model.safetensors")))
      let error = #expect(throws: ModelError.self) {
        try FormatRegistry.standard.open(folder.path)
      }
      #expect(error?.path == folder.appending("model.safetensors"))
      #expect(error.map { "\($0)".contains("git lfs pull") } ?? false)
    }
  }

  @Test func folderWithSeveralModelsIsRefused() throws {
    try withTemporaryFolder { folder in
      for name in ["a.safetensors", "b.safetensors"] {
        try Data().write(to: URL(filePath: folder.appending(name)))
      }
      #expect(
        throws: ModelError.unsupported(
          "the folder holds several safetensors files; name one of 'a.safetensors', "
            + "'b.safetensors'", path: folder.path)
      ) {
        try FormatRegistry.standard.open(folder.path)
      }
    }
  }

  @Test(arguments: [
    ("{", TextContent.Kind.json), ("[1, 2]", .json), ("[section]\na=1", .plain),
    ("{% if a %}", .template), ("{{ a }}", .template), ("<?xml version='1.0'?>", .markup),
    ("import os", .source), ("import duties apply", .plain),
    ("from a import b", .source), ("from here to there", .plain), ("def f(x):", .source),
    ("class A(B):", .source), ("class of its own", .plain), ("#!/bin/sh", .source),
    ("f(x)", .source), ("see f(x) here", .plain), ("```\nimport os\n```", .plain),
  ])
  func textKindsAreDistinguished(text: String, kind: TextContent.Kind) {
    #expect(TextContent(SharedBytes(Array(text.utf8)))?.kind == kind)
  }

  @Test func binaryBytesAreNotText() {
    for bytes in [[], [0x61, 0], [0xFF, 0x61], [0x61, 0x7F], [0xC3]] as [[UInt8]] {
      #expect(TextContent(SharedBytes(bytes)) == nil)
    }
    #expect(TextContent(beginningOf: SharedBytes([0x61, 0xC3]))?.text == "a")
  }
}

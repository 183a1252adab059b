import Formats
import Foundation
import Inspect
import Reports
import Testing

/// The reports of real archives in every format.
@Suite struct ReportTests {
  private func modelReport() throws -> ModelReport {
    var options = ModelReport.Options()
    options.splitsFusedQKV = true
    options.includesSingularValues = true
    return try ModelReport(archive: .varied(), file: "model.pth", options: options)
  }

  private func diffReport() throws -> DiffReport {
    var other = try TensorArchive.varied()
    other.tensors["conv.weight"] = try .of(
      .float16, [2, 1, 1, 3], [3, 0, 0, 0, 0.25, 0] as [Float16])
    other.tensors["norm.bias"] = try .float32([3], [0, 1, .nan])
    other.tensors["index"] = try .of(.int64, [4], [0, 1, 2, 3] as [Int64])
    other.tensors["renamed.weight"] = other.tensors.removeValue(forKey: "singular.weight")
    other.tensors[TensorArchive.hostileName] = try .of(.float64, [1, 2], [3.0, 5.0])
    other.values["epoch"] = .integer(3)
    return try DiffReport(.varied(), other, fileA: "a.pth", fileB: "b.npz")
  }

  @Test func modelReportRoundTripsAsJSON() throws {
    let report = try modelReport()
    let json = try report.rendered(as: .json)
    #expect(json.contains("\"conditionNumber\" : \"inf\""))
    #expect(json.contains("\"schemaVersion\" : 1"))
    #expect(!json.contains("null"))
    #expect(try ReportJSON.decode(ModelReport.self, from: json) == report)
  }

  @Test func diffReportRoundTripsAsJSON() throws {
    let report = try diffReport()
    let json = try report.rendered(as: .json)
    #expect(json.contains("\"signalToNoise\" : \"inf\""))
    #expect(try ReportJSON.decode(DiffReport.self, from: json) == report)
  }

  @Test func packedSummaryIsShown() throws {
    var report = try modelReport()
    report.packed = try ReportJSON.decode(
      PackedSummary.self,
      from: """
        {"producer": "tests", "fileByteCount": 1005000, "payloadByteCount": 1000000,
         "fileToPayload": 1.005, "tensorByteCount": 4000000, "quantizedTensorCount": 96,
         "quantizedElementCount": 691200, "bitsPerWeight": 2.1,
         "ratios": {"paper": 3.6, "parameters": 3.301, "file": 11, "tensors": 3.98}}
        """)
    let text = try report.rendered(as: .text)
    for line in [
      "quantized weights          691,200", "bits per quantized weight  2.100",
      "ratio, as in the papers    3.600", "ratio, all parameters      3.301",
      "ratio, file                11.00", "ratio, tensor bytes        3.980",
      "payload                    976.6 KiB", "file / payload             1.005",
    ] { #expect(text.contains(line + "\n"), "\(line)") }
    #expect(
      try ReportJSON.decode(ModelReport.self, from: report.rendered(as: .json)) == report)
  }

  @Test(arguments: ReportFormat.allCases.filter { $0 != .json })
  func hostileNamesAreHarmless(_ format: ReportFormat) throws {
    for report in [try modelReport() as any DocumentedReport, try diffReport()] {
      let output = try report.rendered(as: format)
      let controls = output.unicodeScalars.filter {
        [.control, .format].contains($0.properties.generalCategory)
          && !"\r\n".unicodeScalars.contains($0)
      }
      #expect(controls.isEmpty)
      if format == .html || format == .markdown { #expect(!output.contains("<img")) }
      if format == .markdown { #expect(!output.contains("[x](")) }
    }
  }

  @Test func hostileNameIsEscapedInHTML() throws {
    let html = try modelReport().rendered(as: .html)
    #expect(
      html.contains(
        "<td>&lt;img src=x onerror=alert(1)&gt;|`&quot;a&quot;,\\u{1b}[31m\\u{a}\\u{202e}&#39;&amp;"
      ))
  }

  @Test func csvHasOneRowPerLayer() throws {
    let report = try modelReport()
    let lines = try report.rendered(as: .csv).split(separator: "\r\n")
    #expect(lines.count == report.layers.count + 1)
    let header = """
      name,part,position,shape,rows,columns,elementCount,conditionNumber,referenceConditionNumber,\
      sigmaMax,sigmaMin,stableRank,byteCount,elementType,sqnr4,alpha,effectiveRank,numericalRank,\
      sqnr3,sqnr2,channelNormSpread,kurtosis,spectralEntropy,frobeniusNorm,nuclearNorm,zeroShare,\
      nanCount,infinityCount,note
      """
    #expect(lines[0] == header)
    #expect(lines[4].hasPrefix("conv.weight,,1,2x1x1x3,2,3,6,12.0,,3.0,0.25,1.00694444"))
  }

  @Test func textReportsFitHundredColumns() throws {
    for report in [try modelReport() as any DocumentedReport, try diffReport()] {
      let lines = try report.rendered(as: .text).split(separator: "\n")
      #expect(lines.allSatisfy { $0.count <= 100 })
    }
  }

  @Test func diffTextNamesEveryChange() throws {
    let text = try diffReport().rendered(as: .text)
    for change in ["type only", "values", "shape", "renamed", "value"] {
      #expect(text.contains("  \(change) "), "\(change)")
    }
    #expect(text.hasPrefix("Difference report: different\n"))
  }
}

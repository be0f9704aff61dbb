// Package proof converts scikit-learn models to a form that the native engine
// reads, and proves that it answers as the original library does.
//
// ConvertScript runs in the model's own Python environment, in a sandbox; what
// it says is read by ReadConversion. Run then asks two predictors, the original
// one and the native one, the same requests through the server's own reader and
// writer: the golden ones, and rows drawn from the signature and the example.
// The first row that is answered otherwise is the difference, and the model is
// not proved.
//
// Two rows that both engines refuse are equal and prove nothing: they are not
// counted, and where most rows are refused the model is not proved either.
// Texts that are missing are drawn only where the model's column is optional or
// its example has one (see mlmodel.Model.Draw): what MLflow makes of them
// elsewhere depends on the version of pandas and on the other rows, and nobody
// who sends them could say what is right. Where they are drawn, and for texts
// that look like numbers, which are always drawn, the engines must agree.
package proof
